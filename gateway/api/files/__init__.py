"""Files, in one piece and in parts."""
