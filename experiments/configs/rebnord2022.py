"""Rebnord 2022: a VAE with inverse autoregressive flows on log-mel spectrograms of drum hits; its nine models (table 7.2).

python experiments/prepare.py --source=folder --path=DRUMKITS --classes=words --out=hits
python experiments/train.py --config=rebnord2022:overfit --workdir=runs/overfit --config.data.store=hits

After the colon the model: 8_dim, 64_dim (also without), 256_dim, 0_flow, 20_flow, beta, no_dropout, underfit, overfit. All nine
with one table: experiments/reproduce.py --result=library.

The paper's: log-mel of 128 bins and 250 frames (16 kHz, window 512, hop 128, dB to the sound's own maximum, 80 dB range);
cross-entropy summed over pixels, KL weight 1 (beta: training set / batch = 128); Adam at 1e-3 with eps 1e-4, batches of 64,
tested every 100 steps. "underfit" has the falling learning rate with which the thesis began: its loss stopped falling after
some 2,000 steps, and the others were trained without (--config.optimizer.schedule=plateau gives it to any). Not the paper's:
gradients longer than 20,000 are cut (the first ones on 580 hits were 11,000 to 19,000 long), and a step that went bad is taken
back by itself; the thesis' losses exploded and were rolled back by hand (`FlowVAE` says what can make them). 20_flow starts
with flows near the identity (flow_init_scale .1), or it explodes at once.
"""

from timbre_jax.training.config import default_config, model_section, representation_section

# name: (latents, flows, kl_weight, dropout, steps)
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


def get_config(name="64_dim"):
    if name not in MODELS:
        raise ValueError(f"rebnord2022 has no model {name!r}; there are {', '.join(MODELS)}")
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
