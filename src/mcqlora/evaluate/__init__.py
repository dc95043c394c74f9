"""How a model is evaluated: protocols, batched scoring and generation, reading, the best checkpoint."""
