"""Training of causal language models: the only home of torch. Recipes come here inside functions, so that nothing
pays for torch, or needs it installed, before a generative student is wanted."""
