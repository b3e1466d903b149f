"""Whether an answer stands in what it was given."""
