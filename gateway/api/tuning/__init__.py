"""Fine-tuning jobs, as OpenAI's clients order and watch them."""
