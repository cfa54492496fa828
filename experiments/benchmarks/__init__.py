"""One file a benchmark; `experiments/benchmark.py` lists them."""
