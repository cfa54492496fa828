"""Discrete model of Caillon et al. 2020: VQ-VAE that decodes filtered noise.

The model is that of Bitton, Esling & Harada 2020, arXiv 2007.06349.

  python experiments/prepare.py --source=phrases --sample_rate=16000 --out=phrases16
  python experiments/train.py --config=caillon2020_discrete --workdir=runs/discrete --config.data.store=phrases16

On a GPU:

  python experiments/train.py --config=caillon2020_discrete --workdir=runs/codes --config.data.store=phrases16 --platform=cuda

Cost: 4,500 steps, 8 minutes on one CPU core; less on two cores.
Expected on 48 held-out excerpts of 6 recordings (26 minutes of a violin to train on): multi-resolution STFT distance 1.052
(1.009 to 1.097), where noise filtered by the true magnitudes has .84; perplexity of the held-out frames 403 of 1,024 codes, 797
in use.

Chosen here, to train on one core: a narrower network (the paper's encoder has 32 to 256 channels, its decoder a width of 768
and four dense layers before and after the GRU: --config.model.channels, width, depth), crops of 16 frames, and Adam at 1e-3
instead of 2e-4. With four dense layers on each side, the loss was still that of the mean spectrum after 700 steps.

Encodings are normalized by running statistics. By the statistics of each batch, the perplexity was 112 (139 on the training
sounds, 842 during training), because 8 crops of half a second do not represent a violin. Without batch normalization of the
encodings and without warm-up, it was 3 after 150 steps.
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    """Returns the configuration."""
    config = default_config()
    config.representation = representation_section("wave_frames")
    config.model = model_section(
        "vq_vae",
        latent_size=128,
        channels=(8, 8, 16, 16, 32, 64, 128),
        width=256,
        depth=1,
        train_frames=16,
    )
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 50
    config.optimizer.final_fraction = 0.05
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 8
    config.train.steps = 4500
    config.train.eval_every = 750
    # The relative loss of a nearly silent crop is large; its gradient is clipped, and no rollback is needed.
    config.train.rollback.factor = 30.0
    config.train.statistics_examples = 48
    return config
