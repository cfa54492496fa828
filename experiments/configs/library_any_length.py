"""Space for sounds from 20 ms to 12 s: SampleVAE with a logarithmic time axis.

  python experiments/prepare.py --source=drums --seconds=0 --out=whole
  python experiments/train.py --config=library_any_length --workdir=runs/any_length --config.data.store=whole

On a GPU:

  python experiments/train.py --config=library_any_length --workdir=runs/any_length --config.data.store=whole --platform=cuda

Cost: 4,000 steps, 34 minutes at the 1.95 steps per second of one CPU core; less on two cores.
Expected scores: none are published; experiments/evaluate.py measures them.

`--seconds=0` keeps the length of every sound. For sounds longer than 12 s, set representation.length (samples) and
model.longest (frames). New sounds, from a map or sampled, have the length that the model predicts from their latent; files keep
their length.
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    """Returns the configuration."""
    config = default_config()
    config.representation = representation_section("log_mel", length=192_000, n_frames=0)
    config.model = model_section("variable_length_vae", latent_size=64, flows=5, columns=125, longest=1500)
    config.optimizer.learning_rate = 1e-3
    config.optimizer.eps = 1e-4
    config.optimizer.clip_norm = 2e4
    config.train.batch_size = 32
    config.train.steps = 4000
    config.train.eval_every = 100
    config.data.in_memory = True
    return config
