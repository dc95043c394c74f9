"""The network: its architecture by numbers, its cells on MindFormers, its weights on disk."""
