"""Rebnord 2022: VAE with inverse autoregressive flows on log-mels of drum hits.

E. A. Rebnord, thesis of 2022 on maps of sample libraries. Variants are its nine models (table 7.2): 8_dim, 64_dim (the
default), 256_dim, 0_flow, 20_flow, beta, no_dropout, underfit and overfit.

  python experiments/prepare.py --source=drums --splits=70,10,20 --out=drums
  python experiments/train.py --config=rebnord2022:64_dim --workdir=runs/64_dim --config.data.store=drums
  python experiments/reproduce.py --result=library --store=drums --fraction=0.025 --out=nine

On a GPU:

  python experiments/train.py --config=rebnord2022:64_dim --workdir=runs/64_dim --config.data.store=drums --platform=cuda

Cost: 20,000 steps, 10 hours at the 0.57 steps per second of two CPU cores; the nine models take 187,000 steps.
Expected of 64_dim after 500 steps on 64 unseen hits: MSE of the log-mel .0079, log-spectral distance 4.12 dB, ODG -2.66. In the
thesis, after 20,000 steps on another library: ODG -3.69, NDB 4 (not comparable; docs/results.md).

From the thesis: log-mels of 128 bins and 250 frames (16 kHz, window 512, hop 128, dB relative to the maximum of the sound, 80
dB range); cross-entropy summed over pixels, KL weight 1 (beta: training set / batch = 128); Adam at 1e-3 with eps 1e-4, batches
of 64, evaluation every 100 steps. "underfit" has the falling learning rate of the first models in the thesis, whose loss
stopped falling after some 2,000 steps; --config.optimizer.schedule=plateau sets it for any model.

Chosen here: gradients are clipped to a norm of 20,000 (the first ones on 580 hits were 11,000 to 19,000), and a diverging step
is rolled back automatically; the thesis rolled back exploding losses by hand (`FlowVAE` describes the causes). 20_flow starts
with flows near the identity (flow_init_scale=0.1), because it diverges otherwise.
"""

from timbre_jax.training.config import default_config, model_section, representation_section

MODELS = {
    "8_dim": (8, 10, 1.0, 0.25, 20_000),
    "64_dim": (64, 10, 1.0, 0.25, 20_000),
    "256_dim": (256, 10, 1.0, 0.25, 20_000),
    "0_flow": (64, 0, 1.0, 0.25, 20_000),
    "20_flow": (64, 20, 1.0, 0.25, 20_000),
    "beta": (64, 10, 128.0, 0.25, 20_000),
    "no_dropout": (64, 10, 1.0, 0.0, 10_000),
    "underfit": (64, 10, 1.0, 0.25, 2_000),
    "overfit": (64, 10, 1.0, 0.25, 55_000),
}
"""Latents, flows, KL weight, dropout and steps of each model."""


def get_config(name="64_dim"):
    """Returns the configuration of a model; raises a ValueError if it is not one of `MODELS`."""
    if name not in MODELS:
        raise ValueError(f"--config=rebnord2022:{name}: no such variant; the variants are {', '.join(MODELS)}")
    latents, flows, kl_weight, dropout, steps = MODELS[name]
    config = default_config()
    config.representation = representation_section("log_mel")
    config.model = model_section("flow_vae", latent_size=latents, flows=flows, dropout=dropout)
    if flows > 10:
        config.model.flow_init_scale = 0.1
    config.optimizer.learning_rate = 1e-3
    config.optimizer.eps = 1e-4
    config.optimizer.clip_norm = 2e4
    config.train.batch_size = 64
    config.train.steps = steps
    config.train.kl_weight = kl_weight
    config.train.eval_every = 100
    config.data.in_memory = True
    if name == "underfit":
        config.optimizer.schedule = "plateau"
    return config
