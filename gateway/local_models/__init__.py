"""Models that run here: by the folder or the hub's name that an operator gives."""
