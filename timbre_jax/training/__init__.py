"""Training of models: configuration, steps, trainer, checkpoints, several devices and sweeps."""
