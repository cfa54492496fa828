"""Metrics of sounds, features, latents and maps, with intervals, and their tables."""
