"""Programs of timbre_jax, their configurations, studies and benchmarks."""
