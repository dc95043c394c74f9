"""Training with MindFormers: schedule, YAML, workers, checkpoints, history and the plan."""
