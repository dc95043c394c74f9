"""Multiple-choice benchmarks to an evaluated LoRA adapter: what the workflow's scripts are made of."""
