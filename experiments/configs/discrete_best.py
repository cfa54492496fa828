"""Best model at the bit rate of caillon2020_discrete: VQ-VAE with spectral context.

It decodes magnitudes from codes and integrates their phases (10 bits x 31.25 per second).

  python experiments/prepare.py --source=phrases --sample_rate=16000 --out=phrases16
  python experiments/train.py --config=discrete_best --workdir=runs/discrete_best --config.data.store=phrases16
  python experiments/evaluate.py --workdir=runs/discrete,runs/discrete_best --metrics=stft --sounds=48 --out=scores

On a GPU:

  python experiments/train.py --config=discrete_best --workdir=runs/discrete_best --config.data.store=phrases16 --platform=cuda

Cost: 4,000 steps, 14 minutes on one shared CPU core; less on two cores.
Expected on 48 held-out excerpts of 6 recordings (26 minutes of a violin to train on): multi-resolution STFT distance .566 (.550
to .581), 46 % below the 1.052 (1.009 to 1.097) of caillon2020_discrete; perplexity of the held-out frames 493 of 1,024 codes,
849 in use. 1,729 codes are restarted during training.

All differences to the paper are chosen here. The largest effect is that of the phases: noise has a random phase and magnitude
in every bin, so that noise filtered by the true magnitudes has a distance of .84, and the true magnitudes with integrated
phases .17 (12 excerpts). Further refinement of the phases, by 30 iterations of fast Griffin-Lim, does not improve decoded
magnitudes (.604 instead of .606, 8 excerpts).
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    """Returns the configuration."""
    config = default_config()
    config.representation = representation_section("wave_frames")
    config.model = model_section("spectral_vq_vae", latent_size=128, channels=(256, 256), train_frames=32)
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 50
    config.optimizer.final_fraction = 0.02
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 8
    config.train.steps = 4000
    config.train.eval_every = 500
    config.train.log_every = 50
    config.train.statistics_examples = 48
    return config
