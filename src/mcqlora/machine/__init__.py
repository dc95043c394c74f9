"""What this machine can run: checks before a run, and the doctor."""
