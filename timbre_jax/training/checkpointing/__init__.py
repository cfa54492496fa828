"""Checkpoints of a run: progress, schedule, background writer and best space."""
