"""Makes sounds that follow curves, and converts sounds, in a series space.

    python examples/curves_and_conversion.py --out=moving

In a series space a sound is a path of latents, one for every few frames, of any length. Trains a small space on violin phrases
of the General MIDI bank; `experiments/train.py --config=caillon2020_continuous` trains the full one.
"""

import argparse
from pathlib import Path

import numpy as np

import timbre_jax
from timbre_jax.generation.settings import Control, Convert


def main(out: Path, *, run: Path | None = None, steps: int = 300, seconds: float = 2.0, rate: float = 0.5) -> dict:
    # 1. A run. "loudness" is a condition: it is given to the decoder and need not be in the latents.
    if run is None:
        store = timbre_jax.prepare(source="phrases", sample_rate=24000, number=12, out=str(out / "phrases"))
        config = {
            "representation": {
                "name": "log_mel", "sample_rate": 24000, "length": 96000, "n_fft": 2048, "window_length": 2048, "hop": 256,
                "n_frames": 0, "fmin": 80.0, "reference": "fixed", "range_db": 100.0, "loudness": True,
            },
            "model": {"name": "frame_vae", "latent_size": 8, "channels": (64, 64, 64), "beta": 0.5},
            "data": {"store": str(store.path)},
            "train": {"steps": steps, "batch_size": 16, "crop_frames": 96},
        }  # fmt: skip
        run = out / "run"
        timbre_jax.train_and_evaluate(config, run)
    space = timbre_jax.load(run)

    # 2. A sound to convert: a plucked string of noise, which is not a violin.
    time = np.arange(int(seconds * space.sample_rate)) / space.sample_rate
    noise = np.random.default_rng(0).standard_normal(len(time))
    pluck = (0.3 * noise * np.exp(-8.0 * (time % 0.5))).astype(np.float32)
    timbre_jax.write_wave(out / "pluck.wav", pluck, space.sample_rate)

    # 3. Its latents, edited by hand: the second half is the first one backwards.
    latent = timbre_jax.embed_long(space, pluck)
    values = np.array(latent.values)
    half = values.shape[1] // 2
    values[:, -half:] = values[:, :half][:, ::-1]
    timbre_jax.write_wave(out / "edited.wav", timbre_jax.render_long(space, latent.replace(values=values)), space.sample_rate)

    # 4. Conversion keeps timing and level of the input; control makes a sound whose brightness follows a sine.
    timbre_jax.generate(run, out / "converted", Convert(files=(out / "pluck.wav",)))
    curve = Control(descriptor=("centroid",), curve=(f"sine:{rate}",), seconds=seconds)
    manifest = timbre_jax.generate(run, out / "controlled", curve)
    print(f"The sounds are in {out}/converted and {out}/controlled; *_curves.csv has target and measured curve.")
    return manifest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("moving"), help="folder for the store, the run and the sounds")
    parser.add_argument("--run", type=Path, help="a trained run of a series space to use instead")
    arguments = parser.parse_args()
    main(arguments.out, run=arguments.run)
