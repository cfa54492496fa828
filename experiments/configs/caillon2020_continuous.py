"""Caillon et al. 2020, the continuous model: a VAE over mel frames whose latents do not say how loud a sound is.

python experiments/prepare.py --source=phrases --sample_rate=24000 --out=phrases24
python experiments/train.py --config=caillon2020_continuous --workdir=runs/continuous --config.data.store=phrases24

After the colon: no_adversary, the same without (--config=caillon2020_continuous:no_adversary); paper, the widths and recipe of
the paper alone; straight, brightness and bandwidth asked to move straight between sounds (`FrameVAE`).

The paper's: 24 kHz, 128 mels, kernel 5, one stride of 2, 16 latents, leaky ReLU then batch normalization, a Gaussian
likelihood, KL weight .1, a regressor behind a reversal of gradients, loudness given to the decoder. Ours: narrower networks,
for one core; random pieces of 96 frames (1 s); beta-NLL, without which 500 steps leave the means 18 dB off; and what frees the
latents of loudness within 2,000 steps (see `FrameVAE`): `relative_range_db`, `reader_weight`, `regressor_rate`. A
regressor alone, at weight 30, was fooled (its error 1.0, that of knowing nothing) while a fresh probe found an R^2 of .47.

Expected on 12 held-out recordings (96 sounds of 4 s; 48 recordings to train on; 2,000 steps, 8 to 10 minutes of a shared core),
as both trainings print it at their end:

                                     adversary              no_adversary
    loudness R^2 of a fresh probe     .075 (-.048 to .132)   .906 (.889 to .920)
    pitch R^2                         .897 (.858 to .915)    .919 (.888 to .935)
    RMSE of the log-mel, dB          5.66 (5.33 to 5.94)    10.5 (7.8 to 13.4); median sound 5.49 and 5.97

A wider probe (512 units) finds .075, boosted trees .065 in the first. Without the relative view a few held-out sounds come out
30 dB off, hence the second RMSE. A weight of 100 leaves .02 of loudness after 3,000 steps, and .75 of pitch. straight: loudness
.17, pitch .93, RMSE 6.7 dB, and a rank correlation of brightness with the mix between sounds of .70 where it is .56
(experiments/studies/interpolation.py --pairs=24 --iterations=16).
"""

from timbre_jax.representations import LOG_MEL_PRESETS, representation_settings
from timbre_jax.training.config import default_config, model_section, representation_section

KINDS = ("adversary", "no_adversary", "paper", "straight")


def get_config(name="adversary"):
    if name not in KINDS:
        raise ValueError(f"caillon2020_continuous has no variant {name!r}; there are {', '.join(KINDS)}")
    config = default_config()
    config.representation = representation_section("log_mel", **representation_settings(LOG_MEL_PRESETS["caillon2020"]))
    config.model = model_section("frame_vae")
    if name != "paper":
        config.model.update({"channels": (96, 96, 128, 128, 128, 64), "beta": 0.5})
    if name == "no_adversary":
        config.model["invariant_to"] = ()
    if name == "straight":
        config.model.update({"straightness_weight": 100.0, "band_hz": LOG_MEL_PRESETS["caillon2020"].band_hz})
    if name in ("adversary", "straight"):
        config.model.update({"relative_range_db": 60.0, "reader_weight": 30.0, "regressor_rate": 3.0})
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
