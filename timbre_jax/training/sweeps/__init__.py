"""Sweeps: several runs in one process."""
