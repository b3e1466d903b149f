"""Students on disk, by name, and at work."""
