"""Adversaries that remove a property from latents."""
