"""Caillon et al. 2020, continuous model: VAE of mel frames with latents without loudness.

Variants: adversary (the default); no_adversary, the same without the adversary; paper, with the widths, likelihood and
adversary of the public code; straight, with a loss that penalizes detours of brightness and bandwidth between sounds
(`FrameVAE`).

  python experiments/prepare.py --source=phrases --sample_rate=24000 --out=phrases
  python experiments/train.py --config=caillon2020_continuous --workdir=runs/violin --config.data.store=phrases

On a GPU:

  python experiments/train.py --config=caillon2020_continuous --workdir=runs/violin --config.data.store=phrases --platform=cuda

Cost: 2,000 steps, 8 to 10 minutes on one shared CPU core; less on two cores.
Expected on 12 held-out recordings (96 sounds of 4 s; 48 recordings to train on), as training prints it at its end:

                                     default                 no_adversary
    loudness, R^2 of a fresh probe    .075 (-.048 to .132)   .906 (.889 to .920)
    pitch, R^2                        .897 (.858 to .915)    .919 (.888 to .935)
    RMSE of the log-mel, dB          5.66 (5.33 to 5.94)    10.5 (7.8 to 13.4); median sound 5.49 and 5.97

From the paper: a VAE with the prior N(0, 1), from whose latents a regressor of loudness behind a gradient reversal removes the
loudness. The paper does not detail the architecture.

From its public code (acids-ircam/wavae at f73cf0a): 24 kHz, 128 mel bands, kernel 5, one stride of 2, 16 latents, leaky ReLU
followed by batch normalization, a Gaussian likelihood, a decoder that is conditioned on loudness, and a KL weight of .1, which
weights means in that code and sums here (`FrameVAE`).

Chosen here: narrower networks, for one core; batches of 16 random crops of 96 frames (1 s) and Adam at 1e-3 with a cosine
schedule (wavae: single crops of 1.4 s, 1e-4); beta-NLL, without which the means are 18 dB off after 500 steps; and the settings
that remove loudness from the latents within 2,000 steps (`FrameVAE` describes them): `relative_range_db`, `reader_weight` and
`regressor_rate`. A regressor alone, at weight 30, reached the error of a constant prediction (1.0) while a fresh probe had an
R^2 of .47.

A wider probe (512 units) has a loudness R^2 of .075, boosted trees .065. Without the relative view a few held-out sounds are 30
dB off, hence the second RMSE. An adversary weight of 100 leaves a loudness R^2 of .02 and a pitch R^2 of .75 after 3,000 steps.
The variant straight has loudness .17, pitch .93, RMSE 6.7 dB, and a rank correlation of brightness with the mix between sounds
of .70 instead of .56 (experiments/studies/interpolation.py --pairs=24 --iterations=16).
"""

from timbre_jax.representations import LOG_MEL_PRESETS, representation_settings
from timbre_jax.training.config import default_config, model_section, representation_section

VARIANTS = ("adversary", "no_adversary", "paper", "straight")


def get_config(name="adversary"):
    """Returns the configuration of a variant; raises a ValueError if it is unknown."""
    if name not in VARIANTS:
        raise ValueError(f"--config=caillon2020_continuous:{name}: no such variant; the variants are {', '.join(VARIANTS)}")
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
