"""Our best at the bit rate of caillon2020_discrete: codes of spectra in their surroundings, phases found, no noise."""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    config = default_config()
    config.representation = representation_section("wave_frames")
    config.model = model_section("vq_spectra", latent_size=128, channels=(256, 256), train_frames=32)
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
