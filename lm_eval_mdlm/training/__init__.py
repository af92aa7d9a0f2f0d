"""Fine-tunes and trains masked diffusion language models with the LLaDA objective."""
