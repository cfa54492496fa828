"""Layers and losses that the models share."""
