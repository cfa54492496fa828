"""Checkpoints of a run, written while training continues."""
