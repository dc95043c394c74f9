"""What a model is worth: protocols, batched scoring and generation, reading, choice of checkpoints."""
