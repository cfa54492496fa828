"""Makes a store of sounds to train on and to analyze.

Your own sample library: wav, aiff, flac, ogg and mp3 files in folders, any number of them, broken ones included:
  python -m experiments.prepare --source=folder --path=~/samples/drums --out=hits
  python -m experiments.prepare --source=folder --path=KITS,MORE --classes=words --unlabeled=false --out=hits
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
NSynth by tensorflow-datasets. A prepared data set is read without TensorFlow; to download and prepare one takes
`pip install tensorflow apache-beam`, 73 GB of downloads and 73 GB of disk, or 21 GB for the subset of GANSynth (acoustic
instruments, keys 24 to 84), whose splits share instruments (a warning says so; a --split_file of instruments undoes it):
  python -m experiments.prepare --source=tfds --path=~/tensorflow_datasets/nsynth/full/2.3.3 --out=nsynth
  python -m experiments.prepare --source=tfds --dataset=nsynth/gansynth_subset --out=gansynth

Notes are 16 kHz mono, 4 s, with pitch, velocity, instrument, family and source as in NSynth. Sounds of a library and of kits
are mono, of the rate and length that you say, their level kept; their class is the family, copies of one sound are one
instrument, and no instrument is in two splits. STORE/doctor.md says what was left out and why, STORE/doctor.csv says it of
every sound. Stopped or killed, the same command goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.data.prepare.make_store import IMPORTERS, StoreSettings, make_store
from timbre_jax.data.prepare.summary import describe_store


def _define_flags() -> None:
    flags.DEFINE_enum("source", "soundfont", list(IMPORTERS), "Kind of the sounds' source.")
    command_line.define_flags(StoreSettings, **IMPORTERS)


def main(arguments: Sequence[str]) -> None:
    kind, target = IMPORTERS[flags.FLAGS.source], command_line.settings(StoreSettings)
    command_line.refuse_flags_of_others(kind, IMPORTERS, "source")
    sounds = command_line.settings(kind)
    if not sounds.keep_all:
        command_line.use_compilation_cache()
    try:
        store = make_store(sounds, target)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    print(describe_store(store))


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
