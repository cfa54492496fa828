"""Normalizing flows of latents and the posterior that they define."""
