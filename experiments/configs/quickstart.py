"""`notes_best` in about a minute of training: what launch/quickstart trains.

launch/quickstart
"""

from experiments.configs import notes_best


def get_config():
    config = notes_best.get_config()
    config.train.steps = 1500
    config.train.average_decay = 0.99
    config.train.eval_every = 500
    return config
