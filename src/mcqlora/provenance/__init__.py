"""What made an artefact: hashes of code, records beside the results, and their verification."""
