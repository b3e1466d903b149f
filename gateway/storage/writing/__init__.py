"""What changes the database: commands, ingested records, and the one process that carries them out."""
