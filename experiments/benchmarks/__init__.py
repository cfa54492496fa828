"""Benchmarks, each in one file; `experiments/benchmark.py` runs them."""
