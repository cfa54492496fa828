"""Batched, streaming and chunked inference with a timbre space."""
