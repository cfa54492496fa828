"""Best model of notes with 8 latents: dense VAE in a PCA basis, with augmentation.

  python experiments/prepare.py --out=notes --number=10000
  python experiments/train.py --config=notes_best --workdir=runs/notes_best --config.data.store=notes

On a GPU:

  python experiments/train.py --config=notes_best --workdir=runs/notes_best --config.data.store=notes --platform=cuda

Cost: 4,000 steps, 4 minutes at the 20 steps per second of one CPU core; less on two cores.
Expected on the held-out instruments of the bank (1,379 notes): MSE .00105 (.00065-.00150), SSIM .940, 61 % below PCA with 8
components; on 495 NSynth notes MSE .00282 (.00227-.00354), SSIM .898, 52 % below PCA.

Two choices reduced the error on unseen instruments in every short run: the refinement of latents against the decoder, and the
augmentation of level, tilt, harmonics, decay and attack, which real notes need most. Stronger augmentation was worse.
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    """Returns the configuration."""
    config = default_config()
    config.representation = representation_section("harmonic_tracks")
    config.model = model_section("dense_vae", latent_size=8)
    config.augment = {
        "name": "harmonic",
        "level_db": 8.0,
        "tilt_db": 5.0,
        "harmonic_db": 6.0,
        "decay_db": 6.0,
        "harmonic_decay_db": 3.0,
        "time_warp": 0.3,
    }
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.final_fraction = 0.01
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 256
    config.train.steps = 4000
    config.train.eval_every = 500
    config.train.monitor = "mse"
    config.train.average_decay = 0.999
    return config
