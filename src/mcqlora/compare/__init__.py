"""Several models on the same questions: the run's own, others' that were judged, variants and their seeds."""
