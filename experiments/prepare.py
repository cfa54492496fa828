"""Makes a store of notes that everything else trains on and asks questions of.

Rendered from the General MIDI bank that pip installed with pretty_midi (no download):
  python -m experiments.prepare --out=notes
  python -m experiments.prepare --out=notes_full --number=0
  python -m experiments.prepare --out=strings --families=string,reed --pitches=48-84 --velocities=50,100
Rendered from your own banks, together in one store:
  python -m experiments.prepare --path=A.sf2,B.sf2 --out=notes_ab
NSynth as it is handed out, as a folder with examples.json and audio/, or the tar.gz as downloaded:
  python -m experiments.prepare --source=nsynth --path=nsynth-test.jsonwav.tar.gz --out=nsynth_test
  python -m experiments.prepare --source=nsynth --path=nsynth-train,nsynth-valid,nsynth-test --out=nsynth
NSynth as tensorflow-datasets prepared it (read without TensorFlow):
  python -m experiments.prepare --source=tfds --path=~/tensorflow_datasets/nsynth/full/2.3.3 --out=nsynth

Notes are 16 kHz mono, 4 s, with pitch, velocity, instrument, family and source as in NSynth. STORE/doctor.md says what was
left out and why, STORE/doctor.csv says it of every note. Stopped or killed, the same command goes on where it was.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from absl import flags, logging

from experiments import command_line

SOURCES = ("soundfont", "nsynth", "tfds")
NUMBER = 4000


def _define_flags() -> None:
    flags.DEFINE_enum("source", "soundfont", SOURCES, "Where the notes come from.")
    flags.DEFINE_list("path", [], "Banks (.sf2), NSynth folders or tar.gz files, or a tfds folder; several with commas.")
    flags.DEFINE_string("out", None, "Folder of the store to make.")
    flags.DEFINE_list("families", [], "NSynth families to use, with commas; none means all.")
    flags.DEFINE_string("pitches", "40-96", "MIDI pitches, such as 40-96 or 48,60,72; nsynth and tfds: 'all' too.")
    flags.DEFINE_string("velocities", "25,50,75,100,127", "MIDI velocities, written likewise.")
    flags.DEFINE_integer(
        "number", None, f"How many notes; 0 means all. The choice is even over presets, pitches and velocities. "
        f"By default {NUMBER} for soundfont, all for nsynth and tfds.",
    )  # fmt: skip
    flags.DEFINE_integer("seed", 0, "Of the choice of notes, and of splits that are not given.")
    flags.DEFINE_string(
        "split_file", None, 'nsynth, tfds: JSON {"train": [instruments], "valid": [..], "test": [..]}; others are left out. '
        "By default the splits that the files' names say.",
    )  # fmt: skip
    flags.DEFINE_boolean("keep_all", False, "Keep notes that are not harmonic, unsteady or out of the pitch range, too.")
    flags.DEFINE_integer("workers", 0, "Loading processes; 0 means one a core, 1 loads in this process.")
    flags.DEFINE_boolean("overwrite", False, "Replace a store, or unfinished work, of other settings.")
    flags.DEFINE_boolean("progress", True, "Show a bar with the time left.")


def numbers(text: str) -> tuple[int, ...]:
    """ "40-43,60" -> (40, 41, 42, 43, 60). Raises ValueError for other text."""
    values: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or part.endswith("-"):
            raise ValueError(f"{part!r} is no MIDI number and no range such as 40-96")
        values.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(values))


def prepare(
    *,
    out: str,
    source: str = "soundfont",
    path: Sequence[str] = (),
    families: Sequence[str] = (),
    pitches: Sequence[int] | None = None,
    velocities: Sequence[int] | None = None,
    number: int | None = None,
    seed: int = 0,
    split_file: str | None = None,
    keep_all: bool = False,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = True,
):
    """Makes a store and returns it opened; what the flags of the same names say, as a function.

    Args:
      pitches, velocities: MIDI numbers; None means 40-96 and NSynth's five velocities for soundfont, all for the others.
      number: None means 4,000 for soundfont, all for the others; 0 means all.

    Raises:
      ValueError: one line that says what is wrong and what to do.
    """
    from timbre_jax.data.build import build_store

    path = tuple(os.path.expanduser(one) for one in path)
    if source == "soundfont":
        from timbre_jax.data.sources.soundfont import DEFAULT_PITCHES, DEFAULT_VELOCITIES, SoundFontSource

        if split_file:
            raise ValueError("--split_file is for nsynth and tfds; a bank's splits are its own")
        chosen = SoundFontSource(
            paths=path, families=tuple(families), pitches=tuple(pitches or DEFAULT_PITCHES), seed=seed,
            velocities=tuple(velocities or DEFAULT_VELOCITIES), number=NUMBER if number is None else number,
        )  # fmt: skip
    elif source in ("nsynth", "tfds"):
        if source == "nsynth":
            from timbre_jax.data.sources.nsynth import NSynthSource as kind
        else:
            from timbre_jax.data.sources.tfds import TfdsSource as kind
        chosen = kind(
            paths=path, families=tuple(families), pitches=tuple(pitches or ()), velocities=tuple(velocities or ()),
            number=number or 0, seed=seed, split_file=split_file or "",
        )  # fmt: skip
    else:
        raise ValueError(f"unknown source {source!r}; there are {', '.join(SOURCES)}")
    judge, judge_settings = None, {"keep_all": True}
    if not keep_all:
        from timbre_jax.data.doctor import harmonic_judge

        judge, judge_settings = harmonic_judge()
    return build_store(
        chosen, out, judge=judge, judge_settings=judge_settings, workers=workers or None, overwrite=overwrite,
        progress=progress,
    )  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    values = flags.FLAGS
    logging.set_verbosity(logging.WARNING)  # JAX tells at length which accelerators are not there
    if not values.out:
        raise ValueError("--out=FOLDER is needed: the store to make, see --help")
    # The defaults of these two depend on the source, so only what was written on the command line counts.
    asked = {
        name: numbers(values[name].value)
        for name in ("pitches", "velocities")
        if values[name].present and values[name].value != "all"
    }
    if not values.keep_all:
        command_line.use_compilation_cache()
    try:
        store = prepare(
            out=values.out, source=values.source, path=values.path, families=values.families, number=values.number,
            seed=values.seed, split_file=values.split_file, keep_all=values.keep_all, workers=values.workers,
            overwrite=values.overwrite, progress=values.progress, **asked,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("stopped by Ctrl-C; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    counts = store.index["doctor"]
    print(f"{store.path}: " + ", ".join(f"{store.length(split)} {split}" for split in store.splits))
    left_out = ", ".join(f"{number} {reason}" for reason, number in counts["left_out"].items())
    print(f"kept {counts['kept']} of {counts['notes']} notes{': left out ' + left_out if left_out else ''}")
    print(f"why, note by note: {store.path / 'doctor.md'}, {store.path / 'doctor.csv'}")


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
