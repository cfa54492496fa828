"""Caillon et al. 2020, the continuous model."""

from timbre_jax.representation import LOG_MEL_PRESETS, representation_settings
from timbre_jax.training.config import default_config, model_section, representation_section


def get_config(name="adversary"):
    config = default_config()
    config.representation = representation_section("log_mel", **representation_settings(LOG_MEL_PRESETS["caillon2020"]))
    config.model = model_section("frame_vae", channels=(96, 96, 128, 128, 128, 64))
    config.model.update({"beta": 0.5})
    if name == "no_adversary":
        config.model["invariant_to"] = ()
    else:
        config.model.update({"relative_db": 60.0, "reader_weight": 30.0, "regressor_rate": 3.0})
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 100
    config.optimizer.final_fraction = 0.02
    config.optimizer.clip_norm = 1000.0
    config.train.batch_size = 16
    config.train.crop_frames = 96
    config.train.steps = 2000
    config.train.kl_weight = 0.1
    config.train.eval_every = 500
    config.train.monitor = "last"
    config.data.in_memory = True
    return config
