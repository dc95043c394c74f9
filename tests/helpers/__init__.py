"""What several tests need: texts, questions, networks, evaluations, an S3 server, runs of the workflow."""
