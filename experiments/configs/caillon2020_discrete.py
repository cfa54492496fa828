"""The discrete model of Caillon et al. 2020 (Bitton, Esling & Harada 2020, arXiv 2007.06349): a VQ-VAE that shapes noise.

python experiments/prepare.py --source=phrases --sample_rate=16000 --out=phrases16
python experiments/train.py --config=caillon2020_discrete --workdir=runs/discrete --config.data.store=phrases16

Ours, so that it trains on a core: narrower (the paper's encoder has 32..256 channels, its decoder width 768 and four dense
layers before and after the GRU: --config.model.channels, width, depth), stretches of 16 frames, Adam at 1e-3 (paper: 2e-4).
With four dense layers on each side the loss had not left that of the mean spectrum after 700 steps.

Expected on the 48 held-out excerpts of 6 recordings (26 min of a violin to train on; 4,500 steps, 8 min on a quiet core):
multi-resolution STFT distance 1.052 (1.009 to 1.097); the floor of noise through the true magnitudes is .84. Perplexity of the
held-out frames 403 of 1,024 codes, 797 in use. With encodings normalized by each batch alone it was 112, and 139 on the very
sounds it was trained on, where training said 842: 8 stretches of half a second are no sample of a violin. Without batch
normalization of the encodings and warm-up the perplexity was 3 after 150 steps.
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
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
    # A stretch that is nearly silent is far off in relative terms: no reason to go back, its gradient is clipped.
    config.train.rollback.factor = 30.0
    config.train.statistics_examples = 48
    return config
