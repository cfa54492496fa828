"""One space for hits of 20 ms and cymbals of 12 s: SampleVAE on log-mel spectrograms whose time axis is logarithmic.

python experiments/prepare.py --source=drums --seconds=0 --out=whole
python experiments/train.py --config=library_any_length --workdir=runs/any --config.data.store=whole

`--seconds=0` keeps every sound's own length. For longer sounds than 12 s set representation.length (samples) and model.longest
(frames). New sounds, of a map or drawn, get the length that the model predicts from their latent; files keep theirs.
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    config = default_config()
    config.representation = representation_section("log_mel", length=192_000, n_frames=0)
    config.model = model_section("variable_length_vae", latent_size=64, flows=5, columns=125, longest=1500)
    config.optimizer.learning_rate = 1e-3
    config.optimizer.eps = 1e-4
    config.optimizer.clip_norm = 2e4
    config.train.batch_size = 32
    config.train.steps = 4000
    config.train.eval_every = 100
    config.data.in_memory = True
    return config
