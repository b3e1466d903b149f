"""Gemini and Claude in Google's cloud."""
