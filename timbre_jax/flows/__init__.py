"""Normalizing flows: invertible maps of latents with their log-determinants, and the posterior that they make."""
