"""Makes new sounds from a trained space: wav files with names that say what they are, and a manifest.

  python experiments/generate.py --workdir=run --out=out --mode=reconstruct --files=flute.wav,my_sounds
  python experiments/generate.py --workdir=run --out=out --mode=sample --number=16
  python experiments/generate.py --workdir=run --out=out --mode=sample --draw_from=prior --spread=0.7
  python experiments/generate.py --workdir=run --out=out --mode=interpolate --files=flute.wav,bell.wav --steps=9
  python experiments/generate.py --workdir=run --out=out --mode=sweep --latent=3 --steps=9 --files=flute.wav
  python experiments/generate.py --workdir=run --out=out --mode=variations --files=kick.wav,snares --number=8 --spread=0.5
  python experiments/generate.py --workdir=run --out=out --mode=average --files=kick.wav,tom.wav,clap.wav
  python experiments/generate.py --workdir=run --out=out --mode=arithmetic --files=a.wav,b.wav,c.wav --weights=1,1,-1  # a+b-c
  python experiments/generate.py --workdir=run --out=out --mode=map --map=map --at="0.2,0.7;0.5,0.5"

In a space with a latent a frame, reconstruct, interpolate, sample and variations make sounds of any length, and there are more:

  python experiments/generate.py --workdir=run --out=out --mode=convert --files=voice.wav,drums   # as the space would say it
  python experiments/generate.py --workdir=run --out=out --mode=interpolate --files=a.wav,b.wav --mixed_by=codes
  python experiments/generate.py --workdir=run --out=out --mode=plane --files=a.wav,b.wav,c.wav,d.wav --at="0,0;1,0;1,1"
  python experiments/generate.py --workdir=run --out=out --mode=edit --files=a.wav --edits=edits.csv
  python experiments/generate.py --workdir=run --out=out --mode=edit --files=a.wav --operator=stretch --amount=2
  python experiments/generate.py --workdir=run --out=out --mode=control --descriptor=centroid --curve=sine:0.5 --seconds=4
  python experiments/generate.py --workdir=run --out=out --mode=control --like=voice.wav --files=a.wav --between=800-2500
  python experiments/generate.py --workdir=run --out=out --mode=control --descriptor=centroid,loudness --curve_file=c.csv,l.csv

timbre_jax/generation/series_paths.py and edits.py say what interpolate and edits do. Other modes work on points (means
of a sound's latents, weighted by amplitude) that are held for --seconds. Series are files beside the sounds (NAME_series.npz,
.csv), which can be given as --files again.

Every wav has its latents in the manifest, what it was made from, and, where the space can tell classes, which it predicts;
sounds of an earlier call into the same folder that still lie there are listed under "earlier".
Files may have any rate, any number of channels and any format that libsndfile reads; folders stand for the sound files
in them. What does not fit the space's length is cut or padded, which the manifest says. A file that cannot be used
becomes a line of the manifest's "errors", and the others are done.

OUT/manifest.json: {"library", "mode", "run", "settings", "sounds": [{"file", "latent", "series", "made_from", "remarks"}],
"errors"}.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line

MODES = (
    "reconstruct", "sample", "interpolate", "sweep", "variations", "average", "arithmetic", "map", "convert", "plane", "edit",
    "control",
)  # fmt: skip
OF_FILES = ("reconstruct", "interpolate", "variations", "average", "arithmetic", "convert", "plane", "edit")
DRAWS = ("training", "prior")


def generate(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    *,
    mode: str = "sample",
    files: Sequence[str | os.PathLike] = (),
    number: int = 8,
    draw_from: str = "training",
    spread: float | None = None,
    latent: int = 0,
    steps: int = 9,
    interpolation: str = "linear",
    weights: Sequence[str | float] = (),
    map: str | None = None,
    at: str | Sequence[Sequence[float]] | None = None,
    mixed_by: str = "vectors",
    edits: str | os.PathLike | None = None,
    operator: str | None = None,
    amount: str | None = None,
    what: str = "all",
    seconds: float = 2.0,
    movement: float = 0.3,
    match_level: bool = True,
    descriptor: Sequence[str] = ("centroid",),
    curve: Sequence[str] = (),
    curve_file: Sequence[str] = (),
    like: str | None = None,
    between: Sequence[str] = (),
    seed: int = 0,
) -> dict:
    """Makes sounds and writes them; what the flags of the same names say. Returns the manifest.

    Raises:
      ValueError: one line; also where none of the files can be used (the manifest is written first).
    """
    import timbre_jax
    from timbre_jax.evaluation.runs import open_run
    from timbre_jax.generation import series_modes as series
    from timbre_jax.generation import static_modes as modes
    from timbre_jax.generation.sound_files import expand, write_sound
    from timbre_jax.inference.pooled import held_space

    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out} is a file; sounds need a folder")
    if mode not in MODES:
        raise ValueError(f"--mode is one of {', '.join(MODES)}, not {mode!r}")
    if mode in OF_FILES and not files:
        raise ValueError(f"--mode={mode} needs --files=A.wav,B.wav")
    if mode == "map" and not (map and at):
        raise ValueError('--mode=map needs --map=FOLDER, as experiments/map.py made it, and --at="x,y;x,y"')
    points = parse_points(at) if mode in ("map", "plane") and at else None
    made_edits = parse_edits(edits, operator, amount, what) if mode == "edit" else []
    control = None
    if mode == "control":
        from timbre_jax.generation.control_modes import Control

        length = seconds if curve else None
        control = Control(tuple(descriptor), tuple(curve), tuple(curve_file), like, tuple(between), length)
    paths = expand(files)
    if mode == "interpolate" and len(paths) != 2:
        raise ValueError(f"--mode=interpolate goes between two files, not {len(paths)}")
    if mode == "plane" and (len(paths) != 4 or not points):
        raise ValueError(f'--mode=plane lies between four files and needs --at="x,y;x,y", got {len(paths)} and --at={at}')
    if mode == "sweep" and len(paths) > 1:
        raise ValueError(f"--mode=sweep starts from one file or none, not {len(paths)}")
    if mode == "average" and len(paths) < 2:
        raise ValueError("--mode=average takes at least two files, not 1")
    terms = parse_weights(weights, len(paths)) if mode == "arithmetic" else [1.0 / max(len(paths), 1)] * len(paths)
    spread = {"variations": 0.3}.get(mode, 1.0) if spread is None else spread
    earlier = _earlier(out)
    run = open_run(workdir, kind="series" if mode in series.ONLY else None, why=f"--mode={mode}")
    framed = run.space.kind == "series" and mode in series.MODES
    if framed and mode == "sample" and draw_from == "prior":
        raise ValueError("--draw_from=prior: a series space draws around the points of the training set; leave it out")
    if framed and mixed_by == "crossfade" and mode != "interpolate":
        raise ValueError(f"--mixed_by=crossfade is for --mode=interpolate, not for {mode}")
    if mode == "interpolate" and interpolation == "even" and not framed:
        raise ValueError("--interpolation=even bends a series; this run has one latent a sound: take linear or spherical")
    space = run.space if framed else held_space(run.space, seconds=seconds)
    made, names = modes.open_map(space, map) if mode == "map" else (None, [])
    if mode == "sweep" and latent >= space.latent_size:
        raise ValueError(f"--latent={latent}: the space has latents 0 to {space.latent_size - 1}")

    settings = {
        "reconstruct": {},
        "sample": {"number": number, "draw_from": draw_from, "spread": spread, "seed": seed},
        "interpolate": {"steps": steps, "interpolation": interpolation},
        "sweep": {"latent": latent, "steps": steps},
        "variations": {"number": number, "spread": spread, "seed": seed},
        "average": {},
        "arithmetic": {"weights": terms},
        "map": {"map": str(map), "at": points},
        "convert": {"match_level": match_level},
        "plane": {"at": points, "mixed_by": mixed_by},
        "control": {
            "descriptor": list(descriptor),
            "curve": list(curve),
            "curve_file": [str(path) for path in curve_file],
            "like": None if like is None else str(like),
            "between": list(between),
        },
        "edit": {"edits": None if edits is None else str(edits), "mixed_by": mixed_by, "seed": seed},
    }[mode]
    if run.space.kind == "series":
        more = {"sample": {"seconds": seconds, "movement": movement}, "interpolate": {"mixed_by": mixed_by}}
        settings = {**settings, **(more.get(mode, {}) if framed else {"seconds": seconds})}
    manifest = {
        "library": f"timbre_jax {timbre_jax.__version__}",
        "mode": mode,
        "run": {
            "name": run.name,
            "workdir": str(run.workdir),
            "model": run.model,
            "kind": run.space.kind,
            "latent_size": space.latent_size,
            "representation": space.representation.name,
            "sample_rate": space.sample_rate,
        },
        "settings": settings,
        "sounds": [],
        "errors": [],
    }
    inputs = [entry for path in paths if (entry := _read(path, space, manifest["errors"], framed)) is not None]
    # An average of the others would be another sound than the one asked for: with these, every file counts.
    needed = len(paths) if mode in ("interpolate", "average", "arithmetic", "plane") else min(1, len(paths))

    def nothing() -> ValueError:
        more = f" (and {len(manifest['errors']) - 1} more)" if len(manifest["errors"]) > 1 else ""
        return ValueError(f"{manifest['errors'][0]['error']}{more}")

    try:
        if len(inputs) < needed:
            raise nothing()
        if framed:
            wanted = series.Settings(
                steps=steps, interpolation=interpolation, mixed_by=mixed_by,
                at=points or (), edits=made_edits, number=number, spread=spread,
                seconds=seconds, movement=movement, match_level=match_level, seed=seed,
                control=control, out=out, basis=series.playable_axes(run, made_edits), errors=manifest["errors"],
            )  # fmt: skip
            for name, wave, entry, latent in series.make(space, mode, inputs, wanted):
                remarks = [*entry.get("remarks", ()), *write_sound(out / name, wave, space.sample_rate)]
                about = {"file": name, **entry, "remarks": remarks}
                if latent is not None:
                    about |= {"latent": series.summary(latent), "series": series.write_series(out / name, space, latent)}
                manifest["sounds"].append(about)
            if manifest["errors"] and not manifest["sounds"]:
                raise nothing()
            return manifest
        sounds = {
            "reconstruct": lambda: modes.reconstruct(space, inputs),
            "sample": lambda: modes.sample(space, number, draw_from, spread, seed),
            "interpolate": lambda: modes.interpolate_files(space, inputs, steps, interpolation),
            "sweep": lambda: modes.sweep_latent(space, inputs, latent, steps),
            "variations": lambda: modes.variations(space, inputs, number, spread, seed),
            "average": lambda: modes.combine_files(space, inputs, terms, mode),
            "arithmetic": lambda: modes.combine_files(space, inputs, terms, mode),
            "map": lambda: modes.map_points(space, made, names, str(map), points),
        }[mode]()
        for name, wave, entry in sounds:
            entry["remarks"] = [*entry.get("remarks", ()), *write_sound(out / name, wave, space.sample_rate)]
            if classes := modes.predicted_classes(space, space.decode([entry["latent"]])):
                entry["classes"] = classes[0]
            manifest["sounds"].append({"file": name, **entry})
    finally:
        _write_manifest(out, manifest, earlier)
    return manifest


def parse_edits(edits, operator: str | None, amount: str | None, what: str) -> list:
    """The edits of a file, or the one of --operator, over the whole sound.

    Raises:
      ValueError: neither or both, or edits that make no sense; one line.
    """
    from timbre_jax.generation.edits import make_edit, read_edits

    if (edits is None) == (operator is None):
        raise ValueError("--mode=edit needs --edits=FILE (CSV or JSON) or --operator=NAME --amount=NUMBER, one of both")
    if edits is not None:
        return read_edits(edits)
    return [make_edit({"operator": operator, "amount": amount, "what": what}, place="--operator")]


def _read(path: Path, space, errors: list[dict], framed: bool) -> dict | None:
    """An input of a mode: a sound as long as the space takes it; for modes on series the whole of it, or a series."""
    from timbre_jax.generation.series_modes import SERIES_SUFFIXES, read_series
    from timbre_jax.generation.sound_files import read_input

    if not framed or path.suffix.lower() not in SERIES_SUFFIXES:
        return read_input(path, space, errors, whole=framed)
    try:
        return {"path": path, "series": read_series(path, space), "remarks": []}
    except ValueError as error:
        errors.append({"file": str(path), "error": str(error)})
        return None


def parse_points(at: str | Sequence[Sequence[float]]) -> list[list[float]]:
    """Points of a map from "x,y;x,y".

    Raises:
      ValueError: not pairs of finite numbers; one line.
    """
    from timbre_jax.maps.inverse import map_points

    pairs = [part.split(",") for part in at.split(";") if part.strip()] if isinstance(at, str) else at
    try:
        points = [[float(x), float(y)] for x, y in pairs]
    except (TypeError, ValueError):
        raise ValueError(f'--at takes points of the map as "x,y;x,y", not {at!r}') from None
    map_points(points)
    return points


def parse_weights(weights: Sequence[str | float], count: int) -> list[float]:
    """One finite weight a file; without any, 1 each.

    Raises:
      ValueError: another number of weights than of files, or one that is no finite number.
    """
    if not weights:
        return [1.0] * count
    try:
        values = [float(weight) for weight in weights]
    except ValueError:
        raise ValueError(f"--weights takes numbers with commas between, not {','.join(map(str, weights))}") from None
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise ValueError(f"--weights needs a finite number for each of the {count} files, not {','.join(map(str, weights))}")
    return values


def _earlier(out: Path) -> list[dict]:
    """What a manifest that lies in OUT already says of its sounds, each with how it was made.

    Raises:
      ValueError: it is another program's.
    """
    try:
        text = (out / "manifest.json").read_text(encoding="utf-8")
    except OSError:
        return []
    try:
        old = json.loads(text)
        made = {name: old[name] for name in ("mode", "run", "settings")}
        return [{**made, **sound} for sound in old["sounds"]] + list(old.get("earlier", []))
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{out / 'manifest.json'} is no manifest of sounds: name another --out") from None


def _write_manifest(out: Path, manifest: dict, earlier: list[dict]) -> None:
    """With the sounds of earlier calls that still lie there: no wav in OUT is without its provenance."""
    from timbre_jax.files import write_text

    now = {sound["file"] for sound in manifest["sounds"]}
    if kept := [sound for sound in earlier if sound["file"] not in now and (out / sound["file"]).is_file()]:
        manifest["earlier"] = kept
    write_text(out / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "The run, as experiments/train.py made it.")
    flags.DEFINE_string("out", None, "Folder for the sounds and manifest.json.")
    flags.DEFINE_enum("mode", "sample", MODES, "What to make.")
    flags.DEFINE_list("files", [], "Sound files or folders of them, with commas; in order for interpolate.")
    flags.DEFINE_integer("number", 8, "sample, variations: how many sounds (variations: of each file).", lower_bound=1)
    flags.DEFINE_enum(
        "draw_from",
        "training",
        DRAWS,
        "sample: around where the training notes lie (a Gaussian with their mean and deviation), or from the standard "
        "normal prior.",
    )
    flags.DEFINE_float(
        "spread",
        None,
        "sample (1), variations (0.3): factor on the deviation; less is more typical, or nearer to the file.",
        lower_bound=0.0,
    )
    flags.DEFINE_integer("latent", 0, "sweep: which latent.", lower_bound=0)
    flags.DEFINE_integer("steps", 9, "interpolate, sweep: how many sounds, ends included.", lower_bound=2)
    flags.DEFINE_enum(
        "interpolation",
        "linear",
        ("linear", "spherical", "even"),
        "interpolate: a straight line, an arc, or (series, some seconds) a path bent until brightness and bandwidth go evenly.",
    )
    flags.DEFINE_list("weights", [], "arithmetic: a number for each file: 1,1,-1 is a + b - c. Around the training mean.")
    flags.DEFINE_string("map", None, "map: the folder (or .npz) that experiments/map.py made from this run.")
    flags.DEFINE_string("at", None, 'map, plane: points of it, 0..1: "x,y;x,y". plane: several are passed in time.')
    flags.DEFINE_enum(
        "mixed_by",
        "vectors",
        ("vectors", "codes", "crossfade"),
        "interpolate, plane, edit, variations in a discrete space: decode vectors between codes, or the nearest codes; "
        "crossfade (interpolate): the sounds themselves.",
    )
    flags.DEFINE_string("edits", None, "edit: a CSV or JSON file of edits (timbre_jax/generation/edits.py).")
    flags.DEFINE_string("operator", None, "edit: one operator on the whole sound instead of a file.")
    flags.DEFINE_string("amount", None, "edit: of --operator.")
    flags.DEFINE_string("what", "all", "edit: what --operator changes: all, level, latent 3, axis 0.")
    flags.DEFINE_float(
        "seconds", 2.0, "sample and modes on points, in a space with a latent a frame: how long.", lower_bound=0.02
    )
    flags.DEFINE_float(
        "movement", 0.3, "sample in a space with a latent a frame: slow movement, in training deviations.", lower_bound=0.0
    )
    flags.DEFINE_list("descriptor", ["centroid"], "control: centroid, bandwidth, flatness, rolloff, loudness; of codes f0 too.")
    flags.DEFINE_list("curve", [], "control: SHAPE:HZ for each descriptor; sine, line, exponential, constant.")
    flags.DEFINE_list("curve_file", [], "control: a CSV file of time,value for each descriptor.")
    flags.DEFINE_string("like", None, "control: a sound whose own curve is followed, brought into what the space reaches.")
    flags.DEFINE_list("between", [], "control: LOW-HIGH for each descriptor of --curve, --like; else the middle of its reach.")
    flags.DEFINE_bool("match_level", True, "convert: turn the result up and down until its level curve is the input's.")
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
