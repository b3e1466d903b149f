"""What a student without a language model reads in a text, and writes as an answer."""
