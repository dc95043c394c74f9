"""Processes: msrun with its workers, and children that end with their parent."""
