"""Questions to the database; nothing here writes."""
