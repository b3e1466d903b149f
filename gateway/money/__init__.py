"""Usage to money."""
