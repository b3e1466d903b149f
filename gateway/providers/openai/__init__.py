"""OpenAI's chat completions, and the vendors that speak them with accents of their own."""
