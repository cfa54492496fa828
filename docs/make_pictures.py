"""Draws the pictures of the README and of docs/ from small runs.

    launch/quickstart
    python docs/make_pictures.py --quickstart=quickstart

draws what moving along the latents of the quickstart's space does. The other pictures take the folders that the README's tasks
write, the map of a library and a sound that follows a curve:

    python docs/make_pictures.py --map=map --control=wobble
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path

import numpy as np

import timbre_jax
from timbre_jax.analysis.direction import direction_effects
from timbre_jax.audio.stft import stft
from timbre_jax.report.plots import CLASS_COLORS, IMAGE, MAIN, SECOND, new_figure, styled

PICTURES = Path(__file__).parent / "pictures"
MOST_BYTES = 150_000
EFFECTS = {
    "pitch_semitones": (12.0, "{:.0f} semitones {}", ("higher", "lower")),
    "level_db": (15.0, "{:.0f} dB {}", ("louder", "softer")),
    "brightness_harmonics": (1.0, "{:.1f} harmonics {}", ("brighter", "darker")),
    "temporal_centroid_seconds": (0.5, "center {:.1f} s {}", ("later", "earlier")),
}
"""Changes that count as equal, and their words in a label."""


def save(figure, name: str) -> None:
    """Writes a figure as a PNG with 128 colors.

    Raises:
      ValueError: the file would be too large to commit.
    """
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    image = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    PICTURES.mkdir(exist_ok=True)
    image.save(PICTURES / name, optimize=True)
    size = (PICTURES / name).stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{PICTURES / name}: {size} bytes (at most {MOST_BYTES})")
    print(f"{PICTURES / name}: {size // 1000} kB")


def spectrogram(wave: np.ndarray, *, n_fft: int = 512, hop: int = 256) -> np.ndarray:
    """Returns the levels [K, N] of a wave [T] in dB, full scale 0 dB."""
    magnitudes = np.abs(np.asarray(stft(wave[None], n_fft=n_fft, hop=hop)))[0] / (n_fft / 4)
    return 20.0 * np.log10(np.maximum(magnitudes, 1e-5)).T


@styled
def latents_figure(space: timbre_jax.TimbreSpace, *, latents: int = 4, steps: int = 5):
    """Returns spectrograms of sweeps of the latents with the largest effects, one row each."""
    effects = direction_effects(space, steps=steps)
    changes = {name: effects.qualities[name][:, -1] - effects.qualities[name][:, 0] for name in EFFECTS}
    scaled = np.stack([changes[name] / scale for name, (scale, *_) in EFFECTS.items()], axis=1)
    chosen = np.sort(np.argsort(-np.abs(scaled).max(1))[:latents])
    figure, axes = new_figure(9.0, 1.25 * latents + 0.5, latents, steps, sharex=True, sharey=True)
    mean = np.asarray(space.statistics["latent_mean"])
    for row, d in zip(axes, chosen, strict=True):
        points = timbre_jax.sweep(space, mean, int(d), steps=steps)
        for ax, wave in zip(row, np.asarray(space.render(points)), strict=True):
            level = spectrogram(wave)
            extent = (0.0, len(wave) / space.sample_rate, 0.0, space.sample_rate / 2000)
            ax.imshow(level, origin="lower", aspect="auto", extent=extent, cmap=IMAGE, vmin=-85, vmax=-15)
            ax.set(ylim=(0, 5), xticks=(0, 2, 4), yticks=(0, 2, 4))
            ax.grid(False)
        words = [
            text.format(abs(changes[name][d]), up if changes[name][d] > 0 else down)
            for name, (_, text, (up, down)) in EFFECTS.items()
        ]
        largest = np.argsort(-np.abs(scaled[d]))[:2]
        label = "\n".join([f"latent {d}", *(words[i] for i in largest)])
        row[0].annotate(label, (-0.42, 0.5), xycoords="axes fraction", ha="right", va="center", fontsize=9)
        row[0].set_ylabel("kHz", fontsize=8)
    for ax, share in zip(axes[0], np.linspace(0, 100, steps), strict=True):
        ax.set_title(f"{share:.0f} % of its range", fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("seconds", fontsize=8)
    for ax in axes.flat:
        ax.tick_params(labelsize=7)
    return figure


@styled
def library_figure(folder: Path):
    """Returns the sounds of a map by class, over spectrograms of the new sounds of its grid."""
    document = json.loads((folder / "map.json").read_text(encoding="utf-8"))
    sounds, grid = document["sounds"], document["grid"]
    figure, axes = new_figure(7.6, 5.6)
    ax = axes[0, 0]
    step = 1.0 / round(len(grid) ** 0.5 - 1)
    for tile in grid:
        wave, rate = timbre_jax.read_wave(folder / tile["file"])
        level = spectrogram(np.resize(wave, rate // 2), hop=128)[:120, :60].reshape(30, 4, 30, 2).mean((1, 3))
        x, y, half = tile["x"], tile["y"], 0.45 * step
        extent = (x - half, x + half, y - half, y + half)
        ax.imshow(np.round(level, -1), origin="lower", extent=extent, cmap="gray_r", vmin=-100, vmax=20, zorder=1)
    classes = np.array([sound["class"] for sound in sounds])
    coordinates = np.array([(sound["x"], sound["y"]) for sound in sounds])
    for number, name in enumerate(np.unique(classes)):
        points = coordinates[classes == name]
        color, label = CLASS_COLORS[number % len(CLASS_COLORS)], f"{name} ({len(points)})"
        ax.scatter(*points.T, s=38, color=color, edgecolors="white", linewidths=0.6, label=label, zorder=2)
    edge = 0.6 * step
    ax.set(xlim=(-edge, 1 + edge), ylim=(-edge, 1 + edge), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def control_figure(folder: Path):
    """Returns the target and the measured curve of a sound that `control` made."""
    (path,) = folder.glob("*_curves.csv")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
    descriptor = next(name.removesuffix("_target") for name in columns if name.endswith("_target"))
    measured = next(columns[name] for name in columns if name.startswith(f"{descriptor}_") and not name.endswith("_target"))
    time, target = columns["time"], columns[f"{descriptor}_target"]
    wave, rate = timbre_jax.read_wave(path.with_name(path.name.replace("_curves.csv", ".wav")))
    figure, axes = new_figure(7.0, 2.8)
    ax = axes[0, 0]
    extent = (0.0, len(wave) / rate, 0.0, rate / 2)
    ax.imshow(spectrogram(wave), origin="lower", aspect="auto", extent=extent, cmap="gray_r", vmin=-90, vmax=-10)
    ax.plot(time, target, color=SECOND, linewidth=4.0, alpha=0.8, label="asked for")
    ax.plot(time, measured, color=MAIN, linewidth=1.6, label="measured on the sound")
    ax.set(xlabel="seconds", ylabel="brightness (centroid), Hz", ylim=(0, 1.3 * np.nanmax(target)))
    ax.grid(False)
    ax.legend(loc="upper right", frameon=True)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quickstart", type=Path, help="folder that launch/quickstart wrote")
    parser.add_argument("--map", type=Path, help="folder that experiments/map.py wrote")
    parser.add_argument("--control", type=Path, help="folder that experiments/generate.py --mode=control wrote")
    arguments = parser.parse_args()
    if arguments.quickstart:
        save(latents_figure(timbre_jax.load(arguments.quickstart / "run")), "latents.png")
    if arguments.map:
        save(library_figure(arguments.map), "map.png")
    if arguments.control:
        save(control_figure(arguments.control), "control.png")


if __name__ == "__main__":
    main()
