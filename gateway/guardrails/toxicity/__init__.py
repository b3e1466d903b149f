"""Toxic language."""
