"""Answers to questions that say the same in other words: vectors, the index, and the cache that learns from both."""
