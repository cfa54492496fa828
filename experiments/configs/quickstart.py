"""Shortened training of `notes_best`, for launch/quickstart.

  launch/quickstart

On a GPU, with its store:

  python experiments/train.py --config=quickstart --workdir=runs/quickstart --config.data.store=quickstart/store --platform=cuda

Cost: 1,500 steps, about a minute on two CPU cores.
Expected on the validation instruments of the bank: MSE .00084.
"""

from experiments.configs import notes_best


def get_config():
    """Returns the configuration."""
    config = notes_best.get_config()
    config.train.steps = 1500
    config.train.average_decay = 0.99
    config.train.eval_every = 500
    return config
