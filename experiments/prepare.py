"""Makes a store, which contains sounds and their labels for training and analysis.

  python experiments/prepare.py --out=notes --number=10000
  python experiments/prepare.py --source=folder --path=~/samples --classes=words --out=hits
  python experiments/prepare.py --source=nsynth --path=nsynth-train.jsonwav.tar.gz,nsynth-test.jsonwav.tar.gz --out=nsynth

Guide: docs/guides/prepare.md
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.data.prepare.make_store import IMPORTERS, StoreSettings, make_store
from timbre_jax.data.prepare.summary import describe_store

SOURCE_HELP = (
    "Where the sounds come from: soundfont (notes of SoundFont banks, by default of the General MIDI bank that pip installed), "
    "folder (samples), kits (drum kits of a bank), drums (drum samples that Debian packages installed, else kits), recordings "
    "(cut into excerpts), phrases (melodies that an instrument of a bank plays), nsynth (NSynth as distributed), tfds (NSynth "
    "prepared by tensorflow-datasets)."
)


def training_config(source: str, sounds) -> str:
    """Returns the name of a configuration that fits a store of these settings."""
    if source in ("recordings", "phrases"):
        return "caillon2020_continuous" if sounds.sample_rate == 24000 else "caillon2020_discrete"
    if source in ("folder", "kits", "drums"):
        return "library_best" if sounds.seconds else "library_any_length"
    return "notes_best"


def main(_) -> None:
    """Runs the program."""
    target, sounds = command_line.settings(StoreSettings), command_line.chosen_settings("source", IMPORTERS)
    if not sounds.keep_all:
        command_line.use_compilation_cache()
    store = make_store(sounds, target)
    print(describe_store(store))
    config = training_config(command_line.flag_value("source"), sounds)
    train = (f"--config={config}", f"--workdir=runs/{Path(target.out).name}", f"--config.data.store={target.out}")
    if config == "library_best" and "train" in store.splits and store.length("train") < 128:  # its batch size
        train += ("--config.train.batch_size=32",)
    report = Path(target.out) / "doctor.md"
    command_line.print_written(target.out, report, next=(("experiments/train.py", *train),))


if __name__ == "__main__":
    command_line.define_flags(store=StoreSettings)
    command_line.define_choice("source", IMPORTERS, default="soundfont", help=SOURCE_HELP)
    command_line.run(main, __doc__, resumable=True)
