"""Makes a store of sounds that everything else trains on and asks questions of.

Your own sample library: wav, aiff, flac, ogg and mp3 files in folders, any number of them, broken ones included:
  python -m experiments.prepare --source=folder --path=~/samples/drums --out=hits
  python -m experiments.prepare --source=folder --path=KITS,MORE --classes=words --unlabelled=false --out=hits
  python -m experiments.prepare --source=folder --path=KITS --sample_rate=44100 --seconds=0 --max_seconds=40 --out=hits_long
Drum hits that this machine has: Debian's hydrogen-drumkits, sonic-pi-samples and lmms-common where they are installed, else
the drum kits of the General MIDI bank that pip installed with pretty_midi (no download); and these, or your own banks', alone:
  python -m experiments.prepare --source=drums --out=hits
  python -m experiments.prepare --source=kits --out=kits
Notes rendered from the same bank, or from your own, together in one store:
  python -m experiments.prepare --out=notes
  python -m experiments.prepare --out=notes_full --number=0
  python -m experiments.prepare --out=strings --families=string,reed --pitches=48-84 --velocities=50,100
  python -m experiments.prepare --path=A.sf2,B.sf2 --out=notes_ab
Recordings of an instrument, to be cut into excerpts: your own, of any length, or phrases that the bank's violin plays, with
pitch, loudness and brightness that move:
  python -m experiments.prepare --source=recordings --path=~/recordings --sample_rate=24000 --seconds=4 --out=cello
  python -m experiments.prepare --source=phrases --sample_rate=24000 --out=phrases
  python -m experiments.prepare --source=phrases --program=violin,viola --pitches=48-84 --number=100 --out=phrases
NSynth as it is handed out, as a folder with examples.json and audio/, or the tar.gz as downloaded:
  python -m experiments.prepare --source=nsynth --path=nsynth-test.jsonwav.tar.gz --out=nsynth_test
  python -m experiments.prepare --source=nsynth --path=nsynth-train,nsynth-valid,nsynth-test --out=nsynth
NSynth as tensorflow-datasets prepared it (read without TensorFlow; to prepare it, on this or another machine, takes
`pip install tensorflow-datasets tensorflow apache-beam` and 73 GB of downloads, and leaves 73 GB, or 21 GB of the subset):
  python -c "import tensorflow_datasets as tfds; tfds.builder('nsynth/full').download_and_prepare()"
  python -m experiments.prepare --source=tfds --path=~/tensorflow_datasets/nsynth/full/2.3.3 --out=nsynth
and the subset of GANSynth (acoustic instruments, keys 24 to 84), whose splits share instruments (it is told at the end; a
--split_file of instruments undoes it):
  python -c "import tensorflow_datasets as tfds; tfds.builder('nsynth/gansynth_subset').download_and_prepare()"
  python -m experiments.prepare --source=tfds --path=~/tensorflow_datasets/nsynth/gansynth_subset/2.3.3 --out=gansynth

Notes are 16 kHz mono, 4 s, with pitch, velocity, instrument, family and source as in NSynth. Sounds of a library and of kits
are mono, of the rate and length that you say, their level kept; their class is the family, copies of one sound are one
instrument, and no instrument is in two splits. STORE/doctor.md says what was left out and why, STORE/doctor.csv says it of
every sound. Stopped or killed, the same command goes on where it was.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags, logging

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line

SOURCES = ("soundfont", "folder", "kits", "drums", "recordings", "phrases", "nsynth", "tfds")
LIBRARIES = ("folder", "kits", "drums", "recordings", "phrases")
NUMBER = 4000
LIBRARY = ("sample_rate", "seconds", "max_seconds", "trim", "duplicates", "splits")
# Which options a source has beside those that all have: a word for the others would do nothing.
OPTIONS = {
    "soundfont": ("pitches", "velocities", "keep_all"),
    "nsynth": ("pitches", "velocities", "split_file", "keep_all"),
    "tfds": ("pitches", "velocities", "split_file", "keep_all"),
    "folder": ("classes", "unlabelled", *LIBRARY),
    "kits": ("velocities", "unlabelled", *LIBRARY),
    "drums": LIBRARY,
    "recordings": ("sample_rate", "seconds", "duplicates", "splits", "silence_db"),
    "phrases": ("sample_rate", "seconds", "splits", "pitches", "program", "recording_seconds"),
}


def _define_flags() -> None:
    flags.DEFINE_enum("source", "soundfont", SOURCES, "Where the sounds come from.")
    flags.DEFINE_list(
        "path", [], "Folders of sounds, banks (.sf2), NSynth folders or tar.gz files, or a tfds folder; several with commas."
    )
    flags.DEFINE_string("out", None, "Folder of the store to make.")
    flags.DEFINE_list("families", [], "NSynth families, or classes of sounds, to use, with commas; none means all.")
    flags.DEFINE_integer(
        "number", None, f"How many sounds; 0 means all. The choice is even over presets, pitches and velocities, over "
        f"instruments, or over classes; of recordings or phrases, how many recordings. By default {NUMBER} for soundfont, 60 "
        "for phrases, all for the others.",
    )  # fmt: skip
    flags.DEFINE_integer("seed", 0, "Of the choice of sounds, and of splits that are not given.")
    flags.DEFINE_string("pitches", "40-96", "Notes: MIDI pitches, such as 40-96 or 48,60,72; nsynth and tfds: 'all' too.")
    flags.DEFINE_string("velocities", "25,50,75,100,127", "Notes and kits: MIDI velocities, written likewise.")
    flags.DEFINE_string(
        "split_file", None, 'nsynth, tfds: JSON {"train": [instruments], "valid": [..], "test": [..]}; others are left out. '
        "By default the splits that the files' names say.",
    )  # fmt: skip
    flags.DEFINE_boolean("keep_all", False, "Notes: keep those that are not harmonic, unsteady or out of the pitch range, too.")
    flags.DEFINE_string(
        "classes", "folder", "folder: what a sound's class is: 'folder' (the name of the folder it lies in), 'top_folder' (of "
        "the first below --path), 'words' (by drum words in its name, such as kick, sd, HatOpen, and in a Hydrogen "
        "drumkit.xml), a FILE of such words in lines of CLASS: word, word (timbre_jax/data/drum_words.txt is one), or 'none'.",
    )  # fmt: skip
    flags.DEFINE_boolean("unlabelled", True, "folder, kits: keep sounds without a class.")
    flags.DEFINE_integer(
        "sample_rate", 16000, "All but notes and NSynth: Hz, 8000 to 48000.", lower_bound=8000, upper_bound=48000
    )
    flags.DEFINE_float(
        "seconds", None, "Libraries: the length that sounds are cut or padded to; 0 keeps their own; recordings, phrases: the "
        "length of an excerpt. By default 2, of excerpts 4.",
    )  # fmt: skip
    flags.DEFINE_float(
        "max_seconds", None, "Libraries: with --seconds=0, the length that longer sounds are cut to; by default 40 for files, "
        "10 for kits.",
    )  # fmt: skip
    flags.DEFINE_boolean(
        "trim", True, "Libraries: cut off what lies before the onset (the first sample within 40 dB of the peak, less 2 ms) "
        "and digital silence at the end.",
    )  # fmt: skip
    flags.DEFINE_enum(
        "duplicates", None, ("one", "exact", "all"), "Libraries: keep one of all copies of a sound (the same at another "
        "level, rate or place in its file, too), one of those with the same samples, or all; they stay in one split. "
        "By default 'one' for files, 'exact' for kits, whose velocities are kept so.",
    )  # fmt: skip
    flags.DEFINE_string("splits", "80,10,10", "Libraries: percent of train, valid and test, even over classes.")
    flags.DEFINE_float("silence_db", -60.0, "recordings: excerpts whose level (RMS) is under this are left out.")
    flags.DEFINE_list("program", ["violin"], "phrases: presets of the bank that play, by name or General MIDI number (from 0).")
    flags.DEFINE_float("recording_seconds", 32.0, "phrases: how long each recording is.")
    flags.DEFINE_integer("workers", 0, "Loading processes; 0 means one a core, 1 loads in this process.")
    flags.DEFINE_boolean("overwrite", False, "Replace a store, or unfinished work, of other settings.")
    flags.DEFINE_boolean("progress", True, "Show a bar with the time left.")


def numbers(text: str) -> tuple[int, ...]:
    """ "40-43,60" -> (40, 41, 42, 43, 60). Raises ValueError for other text."""
    values: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or part.endswith("-") or int(last or first) < int(first):
            raise ValueError(f"{part!r} is no MIDI number and no range such as 40-96")
        values.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(values))


def shares(text: str) -> tuple[float, ...]:
    """ "80,10,10" -> (0.8, 0.1, 0.1). Raises ValueError for other text."""
    try:
        return tuple(float(part) / 100 for part in text.split(","))
    except ValueError:
        raise ValueError(f"splits {text!r}: percents of train, valid and test are needed, such as 80,10,10") from None


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
    classes: str = "folder",
    unlabelled: bool = True,
    sample_rate: int = 16000,
    seconds: float | None = None,
    max_seconds: float | None = None,
    trim: bool = True,
    duplicates: str | None = None,
    splits: Sequence[float] = (0.8, 0.1, 0.1),
    silence_db: float = -60.0,
    program: Sequence[str] = ("violin",),
    recording_seconds: float = 32.0,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = True,
):
    """Makes a store and returns it opened; what the flags of the same names say, as a function.

    Args:
      families: NSynth families, or classes of a library.
      pitches, velocities: MIDI numbers; None means 40-96 and NSynth's five velocities for what is rendered, all for NSynth.
      number: None means 4,000 for soundfont, 60 for phrases, all for the others; 0 means all.
      seconds: None means 2, for excerpts of recordings and phrases 4.
      max_seconds: None means 40 for files, 10 for kits.
      duplicates: None means "one" for files, "exact" for kits.
      splits: shares of train, valid and test.

    Raises:
      ValueError: one line that says what is wrong and what to do.
    """
    from timbre_jax.data.prepare.build import build_store

    path = tuple(os.path.expanduser(one) for one in path)
    judge, judge_settings = None, {"keep_all": True}
    if source in ("recordings", "phrases"):
        chosen = _excerpts(
            source, path, families=families, pitches=pitches, number=number, seed=seed, sample_rate=sample_rate,
            seconds=seconds, duplicates=duplicates, splits=splits, silence_db=silence_db, program=program,
            recording_seconds=recording_seconds,
        )  # fmt: skip
    elif source in LIBRARIES:
        library = {
            "labels": tuple(families), "sample_rate": sample_rate, "seconds": 2.0 if seconds is None else seconds, "trim": trim,
            "fractions": tuple(splits),
            "number": number or 0, "seed": seed,
        }  # fmt: skip
        library |= {"duplicates": duplicates} if duplicates else {}
        library |= {} if max_seconds is None else {"max_seconds": max_seconds}
        if source == "folder":
            from timbre_jax.data.importers.folder import FolderSource

            chosen = FolderSource(path, classes=classes, unlabelled=unlabelled, **library)
        elif source == "kits":
            from timbre_jax.data.importers.drum_kits import KitSource

            keys = {"velocities": tuple(velocities)} if velocities else {}
            chosen = KitSource(path, unlabelled=unlabelled, **keys, **library)
        else:
            from timbre_jax.data.importers.drums import drum_source

            if path:
                raise ValueError("--source=drums finds its sounds itself; for those of --path there is --source=folder")
            chosen = drum_source(**library)
    elif source == "soundfont":
        from timbre_jax.data.importers.soundfont import DEFAULT_PITCHES, DEFAULT_VELOCITIES, SoundFontSource

        if split_file:
            raise ValueError("--split_file is for nsynth and tfds; a bank's splits are its own")
        chosen = SoundFontSource(
            paths=path, families=tuple(families), pitches=tuple(pitches or DEFAULT_PITCHES), seed=seed,
            velocities=tuple(velocities or DEFAULT_VELOCITIES), number=NUMBER if number is None else number,
        )  # fmt: skip
    elif source in ("nsynth", "tfds"):
        if source == "nsynth":
            from timbre_jax.data.importers.nsynth import NSynthSource as kind
        else:
            from timbre_jax.data.importers.tfds import TfdsSource as kind
        chosen = kind(
            paths=path, families=tuple(families), pitches=tuple(pitches or ()), velocities=tuple(velocities or ()),
            number=number or 0, seed=seed, split_file=split_file or "",
        )  # fmt: skip
    else:
        raise ValueError(f"unknown source {source!r}; there are {', '.join(SOURCES)}")
    if source not in LIBRARIES and not keep_all:
        from timbre_jax.data.prepare.quality import harmonic_judge

        judge, judge_settings = harmonic_judge()
    return build_store(
        chosen, out, judge=judge, judge_settings=judge_settings, workers=workers or None, overwrite=overwrite,
        progress=progress,
    )  # fmt: skip


def _excerpts(source: str, path: Sequence[str], *, families, pitches, number, seed, sample_rate, seconds, duplicates, splits,
              silence_db, program, recording_seconds):  # fmt: skip
    """The source of excerpts that is asked for."""
    common = {"sample_rate": sample_rate, "fractions": tuple(splits), "seed": seed}
    common |= {} if seconds is None else {"seconds": seconds}
    if source == "recordings":
        from timbre_jax.data.importers.recordings import RecordingSource

        copies = {"duplicates": duplicates} if duplicates else {}
        return RecordingSource(
            tuple(path), labels=tuple(families), number=number or 0, silence_db=silence_db, **copies, **common
        )
    from timbre_jax.data.importers.phrases import DEFAULT_KEYS, RECORDINGS, PhraseSource

    if families:
        raise ValueError("--families is not for phrases: name presets with --program")
    keys = (min(pitches), max(pitches)) if pitches else DEFAULT_KEYS
    return PhraseSource(
        tuple(path), programs=tuple(program), keys=keys, recordings=number or RECORDINGS,
        recording_seconds=recording_seconds, **common,
    )  # fmt: skip


def shared_instruments(store) -> int:
    """How many instruments have sounds both to train on and held out."""
    names = {split: set(layout["instruments"]) for split, layout in store.index["splits"].items()}
    return len(names.get("train", set()) & (names.get("valid", set()) | names.get("test", set())))


def summary(store) -> str:
    """What a new store holds, in a few lines: sounds per split and class, what was left out, where the report is."""
    counts = store.index["doctor"]
    lines = [f"{store.path}: " + ", ".join(f"{store.length(split)} {split}" for split in store.splits)]
    if store.index["settings"]["source"]["kind"] in ("folder", "kits", "recordings", "phrases"):
        lengths = np.concatenate([store.lengths(split) for split in store.splits]) / store.sample_rate
        families = np.concatenate([store.metadata(split)["family"] for split in store.splits])
        names, numbers = np.unique(families, return_counts=True)
        lines += [
            f"{store.sample_rate} Hz, {lengths.min():.3f} to {lengths.max():.2f} s, {lengths.mean():.2f} s on average"
            + ("" if store.variable else f"; read as {store.samples / store.sample_rate:g} s each"),
            f"{len(names)} classes: " + ", ".join(f"{names[i]} {numbers[i]}" for i in np.argsort(-numbers, kind="stable")[:20])
            + (", ..." if len(names) > 20 else ""),
        ]  # fmt: skip
        lines += [
            f"warning: no sound is in {split}, for there are too few; see --splits"
            for split, share in zip(("train", "valid", "test"), store.index["settings"]["source"]["fractions"], strict=True)
            if share and split not in store.splits
        ]
    if shared := shared_instruments(store):
        lines.append(
            f"warning: {shared} instruments are in train and held out too, so scores are of known instruments; a --split_file "
            "splits by instrument"
        )
    left_out = ", ".join(f"{number} {reason}" for reason, number in counts["left_out"].items())
    lines.append(f"kept {counts['kept']} of {counts['notes']} sounds{': left out ' + left_out if left_out else ''}")
    lines.append(f"why, sound by sound: {store.path / 'doctor.md'}, {store.path / 'doctor.csv'}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    values = flags.FLAGS
    logging.set_verbosity(logging.WARNING)  # JAX tells at length which accelerators are not there
    if not values.out:
        raise ValueError("--out=FOLDER is needed: the store to make, see --help")
    others = {name for names in OPTIONS.values() for name in names} - set(OPTIONS[values.source])
    if wrong := sorted(name for name in others if values[name].present):
        for_these = [source for source in SOURCES if wrong[0] in OPTIONS[source]]
        raise ValueError(f"--{wrong[0]} is for --source={' or '.join(for_these)}, not for {values.source}")
    if values.source not in ("nsynth", "tfds"):
        for name in ("pitches", "velocities"):
            if values[name].present and values[name].value == "all":
                raise ValueError(f"--{name}=all is for nsynth and tfds; what is played has to be said, such as --{name}=40-96")
    # The defaults of these two depend on the source, so only what was written on the command line counts.
    asked = {
        name: numbers(values[name].value)
        for name in ("pitches", "velocities")
        if values[name].present and values[name].value != "all"
    }
    if values.source not in LIBRARIES and not values.keep_all:
        command_line.use_compilation_cache()
    try:
        store = command_line.call(
            prepare, **{"pitches": None, "velocities": None, **asked}, splits=shares(values.splits)
        )  # fmt: skip
    except KeyboardInterrupt:
        print("stopped by Ctrl-C; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    print(summary(store))


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
