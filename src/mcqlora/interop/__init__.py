"""Hugging Face folders in and out, PEFT adapters, MindFormers' own prediction YAMLs."""
