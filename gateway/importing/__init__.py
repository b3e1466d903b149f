"""Answers that were given elsewhere, taken in as captured calls that may teach and may prove nothing."""
