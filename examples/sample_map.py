"""Makes a map of a sample library in Python, and new sounds from places on it.

    python examples/sample_map.py --out=map_of_kits

Maps the drum kits of the General MIDI bank. `experiments/map.py` does the same as one command and writes a page to click.
"""

import argparse
from pathlib import Path

import numpy as np

import timbre_jax


def main(out: Path, *, run: Path | None = None, number: int = 400) -> timbre_jax.TimbreSpace:
    # 1. A space of the library. Here it is a PCA, fitted in seconds; `experiments/train.py --config=library_best` is better.
    if run is None:
        kits = timbre_jax.prepare(source="kits", out=str(out / "kits"))
        config = {
            "representation": {"name": "log_mel"},
            "model": {"name": "pca", "latent_size": 64},
            "data": {"store": str(kits.path)},
        }
        run = out / "run"
        timbre_jax.train_and_evaluate(config, run)
    opened = timbre_jax.open_run(run)
    space, store = opened.space, timbre_jax.open_store(opened.config["data"]["store"])

    # 2. Latents of the library, batch by batch.
    rows = np.arange(min(number, store.length("train")))
    latents = [np.asarray(space.embed(store.audio("train", part)).values) for part in np.array_split(rows, -(-len(rows) // 32))]
    latents = np.concatenate(latents)
    classes = store.metadata("train")["family"][rows]

    # 3. The map: a place in the unit square for every sound, and an inverse that gives latents for any place.
    sound_map = timbre_jax.make_map(latents)
    sound_map.save(out / "map.npz")
    for label in np.unique(classes):
        x, y = sound_map.coordinates[classes == label].mean(0)
        print(f"{label or 'no class':12s} {np.sum(classes == label):4d} sounds around ({x:.2f}, {y:.2f})")

    # 4. New sounds on a straight line across the map, one of them between any two sounds of the library.
    line = np.stack([np.linspace(0.1, 0.9, 5), np.linspace(0.1, 0.9, 5)], axis=1)
    points, distances = sound_map.inverse(line)
    for (x, y), distance, wave in zip(line, distances, space.render(np.asarray(points)), strict=True):
        path = out / "sounds" / f"x{x:.1f}_y{y:.1f}.wav"
        timbre_jax.write_wave(path, wave, space.sample_rate)
        print(f"{path}: the nearest sound of the library is {float(distance):.2f} map widths away")
    return space


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("map_of_kits"), help="folder for the store, the run and the map")
    parser.add_argument("--run", type=Path, help="a trained run to map instead")
    arguments = parser.parse_args()
    main(arguments.out, run=arguments.run)
