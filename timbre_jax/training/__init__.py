"""Training: configuration, steps, trainer, checkpoints, several devices and sweeps."""
