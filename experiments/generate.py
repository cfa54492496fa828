"""Makes new sounds from a trained space: wav files with names that say what they are, and a manifest.

  python experiments/generate.py --workdir=run --out=out --mode=reconstruct --files=flute.wav,my_sounds
  python experiments/generate.py --workdir=run --out=out --mode=sample --number=16
  python experiments/generate.py --workdir=run --out=out --mode=sample --draw_from=prior --spread=0.7
  python experiments/generate.py --workdir=run --out=out --mode=interpolate --files=flute.wav,bell.wav --steps=9
  python experiments/generate.py --workdir=run --out=out --mode=sweep --latent=3 --steps=9 --files=flute.wav

Files may have any rate, any number of channels and any format that libsndfile reads; folders stand for the sound files
in them. What does not fit the space's length is cut or padded, which the manifest says. A file that cannot be used
becomes a line of the manifest's "errors", and the others are done.

OUT/manifest.json: {"library", "mode", "run", "settings", "sounds": [{"file", "latent", "made_from", "remarks"}],
"errors"}.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from experiments import command_line

MODES = ("reconstruct", "sample", "interpolate", "sweep")
DRAWS = ("training", "prior")


def generate(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    *,
    mode: str = "sample",
    files: Sequence[str | os.PathLike] = (),
    number: int = 8,
    draw_from: str = "training",
    spread: float = 1.0,
    latent: int = 0,
    steps: int = 9,
    interpolation: str = "linear",
    seed: int = 0,
) -> dict:
    """Makes sounds and writes them; what the flags of the same names say. Returns the manifest.

    Raises:
      ValueError: one line; also where none of the files can be used (the manifest is written first).
    """
    import timbre_jax
    from experiments.run_data import open_run

    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out} is a file; sounds need a folder")
    if mode not in MODES:
        raise ValueError(f"--mode is one of {', '.join(MODES)}, not {mode!r}")
    if mode in ("reconstruct", "interpolate") and not files:
        raise ValueError(f"--mode={mode} needs --files=A.wav,B.wav")
    run = open_run(workdir)
    space = run.space
    if mode == "sweep" and latent >= space.latent_size:
        raise ValueError(f"--latent={latent}: the space has latents 0 to {space.latent_size - 1}")
    paths = expand(files)
    if mode == "interpolate" and len(paths) != 2:
        raise ValueError(f"--mode=interpolate goes between two files, not {len(paths)}")
    if mode == "sweep" and len(paths) > 1:
        raise ValueError(f"--mode=sweep starts from one file or none, not {len(paths)}")

    settings = {
        "reconstruct": {},
        "sample": {"number": number, "draw_from": draw_from, "spread": spread, "seed": seed},
        "interpolate": {"steps": steps, "interpolation": interpolation},
        "sweep": {"latent": latent, "steps": steps},
    }[mode]
    manifest = {
        "library": f"timbre_jax {timbre_jax.__version__}",
        "mode": mode,
        "run": {
            "name": run.name,
            "workdir": str(run.workdir),
            "model": run.model,
            "latent_size": space.latent_size,
            "representation": space.representation.name,
            "sample_rate": space.sample_rate,
        },
        "settings": settings,
        "sounds": [],
        "errors": [],
    }
    inputs = [entry for path in paths if (entry := _read(path, space, manifest["errors"])) is not None]
    try:
        if paths and len(inputs) < (2 if mode == "interpolate" else 1):
            first = manifest["errors"][0]
            more = f" (and {len(manifest['errors']) - 1} more)" if len(manifest["errors"]) > 1 else ""
            raise ValueError(f"{first['error']}{more}")
        sounds = {
            "reconstruct": lambda: _reconstruct(space, inputs),
            "sample": lambda: _sample(space, number, draw_from, spread, seed),
            "interpolate": lambda: _interpolate(space, inputs, steps, interpolation),
            "sweep": lambda: _sweep(space, inputs, latent, steps),
        }[mode]()
        for name, wave, entry in sounds:
            entry["remarks"] = [*entry.get("remarks", ()), *_write(out / name, wave, space.sample_rate)]
            manifest["sounds"].append({"file": name, **entry})
    finally:
        _write_manifest(out, manifest)
    return manifest


def expand(files: Sequence[str | os.PathLike]) -> list[Path]:
    """Files as they are; a folder becomes the sound files in it, by name.

    Raises:
      ValueError: a folder without a sound file.
    """
    from timbre_jax.audio.io import AUDIO_SUFFIXES

    paths = []
    for file in map(Path, files):
        if not file.is_dir():
            paths.append(file)
            continue
        found = sorted(path for path in file.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
        if not found:
            raise ValueError(f"{file}: no sound file in this folder ({', '.join(AUDIO_SUFFIXES)})")
        paths += found
    return paths


def short_name(path: Path, *, most: int = 60) -> str:
    """A file's name without its suffix, for use in other names."""
    return plain_name(path.stem, most=most)


def plain_name(text: str, *, most: int = 60) -> str:
    """A text as part of a file's name: letters, digits, `_.+-`, at most `most` bytes."""
    name = re.sub(r"[^\w.+-]+", "_", text).strip("._") or "sound"
    return name.encode()[:most].decode(errors="ignore")


def _read(path: Path, space, errors: list[dict]) -> dict | None:
    """A file as {"path", "wave" [T], "length", "remarks"} with T the space's length, or None and a line in errors."""
    from timbre_jax.audio.io import AudioFileError, read_wave
    from timbre_jax.data.doctor import check_wave, reason_of_quality

    rate = space.sample_rate
    length = getattr(space.representation, "length", 4 * rate)
    try:
        # A second more than is needed tells a long file from a fitting one without reading all of it.
        wave, _ = read_wave(path, sample_rate=rate, duration=length / rate + 1.0)
    except AudioFileError as error:
        errors.append({"file": str(path), "error": str(error)})
        return None
    remarks = []
    real = min(len(wave), length)
    if len(wave) > length:
        remarks.append(f"cut to the first {length / rate:g} s")
    elif len(wave) < length:
        remarks.append(f"padded from {len(wave) / rate:.2f} s to {length / rate:g} s")
    wave = np.pad(wave[:length], (0, length - real))
    if reason := check_wave(wave[:real], rate):
        remarks.append(f"{reason}: what comes out tells of the model, not of this file")
    elif callable(getattr(space.representation, "quality", None)):
        numbers = space.representation.quality(wave[None])
        if reason := reason_of_quality({name: float(value[0]) for name, value in numbers.items()}, -1, 0.0):
            remarks.append(f"{reason}: the representation holds only part of it")
    return {"path": path, "wave": wave, "length": real, "remarks": remarks}


def _embed(space, inputs: list[dict]):
    """One `Latent` [1, D] an input."""
    return [space.embed(entry["wave"][None], np.array([entry["length"]], np.int32)) for entry in inputs]


def _reconstruct(space, inputs):
    for number, (entry, latent) in enumerate(zip(inputs, _embed(space, inputs), strict=True)):
        name = f"{number:03d}_{short_name(entry['path'])}"
        about = {"latent": _plain(latent.values[0]), "made_from": {"file": str(entry["path"])}, "remarks": entry["remarks"]}
        yield f"{name}_original.wav", entry["wave"][: entry["length"]], dict(about)
        yield f"{name}_reconstruction.wav", np.asarray(space.render(latent))[0], dict(about)


def _sample(space, number, draw_from, spread, seed):
    import jax

    from experiments.scoring import render_values
    from timbre_jax.latent.path import sample_aggregate, sample_prior

    key = jax.random.key(seed)
    if draw_from == "training":
        points = np.asarray(sample_aggregate(space, number, key=key, spread=spread))
    else:
        points = spread * np.asarray(sample_prior(space, number, key=key))
    waves = render_values(space, points)
    for i in range(number):
        made_from = {"drawn_from": draw_from, "seed": seed, "draw": i}
        yield f"sample_{i:03d}.wav", waves[i], {"latent": _plain(points[i]), "made_from": made_from}


def _interpolate(space, inputs, steps, method):
    from experiments.scoring import render_values
    from timbre_jax.latent.path import interpolate

    start, end = (np.asarray(latent.values[0]) for latent in _embed(space, inputs))
    points = np.asarray(interpolate(start, end, steps=steps, method=method))
    names = [short_name(entry["path"], most=40) for entry in inputs]
    remarks = [f"{name}: {remark}" for name, entry in zip(names, inputs, strict=True) for remark in entry["remarks"]]
    for i, wave in enumerate(render_values(space, points)):
        share = i / (steps - 1)
        source = {"from": str(inputs[0]["path"]), "to": str(inputs[1]["path"]), "share": share}
        name = f"interpolation_{i:03d}_{names[0]}_to_{names[1]}_{round(100 * share):03d}.wav"
        yield name, wave, {"latent": _plain(points[i]), "made_from": source, "remarks": remarks}


def _sweep(space, inputs, latent, steps):
    from experiments.scoring import render_values
    from timbre_jax.latent.path import sweep

    base, source, start, remarks = np.asarray(space.statistics["latent_mean"]), "mean of the training notes", "mean", []
    if inputs:
        path, remarks = inputs[0]["path"], inputs[0]["remarks"]
        base, source, start = np.asarray(_embed(space, inputs)[0].values[0]), str(path), short_name(path)
    points = np.asarray(sweep(space, base, latent, steps=steps))
    for i, wave in enumerate(render_values(space, points)):
        value = float(points[i, latent])
        name = f"sweep_latent_{latent}_{start}_{i:03d}_at_{value:+.2f}.wav"
        made_from = {"start": source, "latent": latent, "value": value}
        yield name, wave, {"latent": _plain(points[i]), "made_from": made_from, "remarks": remarks}


def _write(path: Path, wave: np.ndarray, rate: int) -> list[str]:
    """Writes a sound; one that would clip is turned down as a whole, which the returned remark says."""
    from experiments.scoring import without_clipping
    from timbre_jax.audio.io import write_wave

    peak = float(np.abs(wave).max(initial=0.0))
    remarks = []
    if peak > 1.0:
        remarks.append(f"turned down by {20 * np.log10(peak):.1f} dB so that it does not clip")
    write_wave(path, without_clipping(wave), rate)
    return remarks


def _write_manifest(out: Path, manifest: dict) -> None:
    from timbre_jax.metrics.table import write_text

    write_text(out / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def _plain(values) -> list[float]:
    return [float(value) for value in np.asarray(values)]


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "The run, as experiments/train.py made it.")
    flags.DEFINE_string("out", None, "Folder for the sounds and manifest.json.")
    flags.DEFINE_enum("mode", "sample", MODES, "What to make.")
    flags.DEFINE_list("files", [], "Sound files or folders of them, with commas; in order for interpolate.")
    flags.DEFINE_integer("number", 8, "Sounds to sample.", lower_bound=1)
    flags.DEFINE_enum(
        "draw_from",
        "training",
        DRAWS,
        "sample: around where the training notes lie (a Gaussian with their mean and deviation), or from the standard "
        "normal prior.",
    )
    flags.DEFINE_float("spread", 1.0, "sample: factor on the deviation; below 1 is more typical.", lower_bound=0.0)
    flags.DEFINE_integer("latent", 0, "sweep: which latent.", lower_bound=0)
    flags.DEFINE_integer("steps", 9, "interpolate, sweep: how many sounds, ends included.", lower_bound=2)
    flags.DEFINE_enum("interpolation", "linear", ("linear", "spherical"), "interpolate: a straight line or an arc.")
    flags.DEFINE_integer("seed", 0, "Of what is drawn.")


def main(_) -> int:
    command_line.use_compilation_cache()
    manifest = command_line.call(generate)
    for error in manifest["errors"]:
        print(f"left out: {error['error']}")
    out = Path(flags.FLAGS.out)
    print(f"{len(manifest['sounds'])} sounds in {out}, described in {out / 'manifest.json'}")
    return 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
