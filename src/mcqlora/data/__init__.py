"""Benchmarks to questions, option orders, Alpaca records, duplicate groups and train/valid/test parts."""
