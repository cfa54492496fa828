"""NSynth at full size, with synthetic sounds: `full_size/FORM`, `full_size/training`.

  python experiments/benchmark.py --only=full_size/folder,full_size/archive,full_size/tfrecord,full_size/array_record
  python experiments/benchmark.py --only=full_size/training

These benchmarks run only if they are named: each takes many minutes and up to 10 GB of the temporary folder (TMPDIR), which it
clears. full_size/folder:20000 uses 20,000 notes instead of all.

FORM is a form in which NSynth is distributed (folder, archive) or which tensorflow-datasets prepares (tfrecord, array_record).
experiments/prepare.py makes a store of 305,979 notes of 1,006 instruments in NSynth's three splits, without the analysis of
pitch and harmonics (--keep_all). The notes last 0.26 s instead of NSynth's 4 s, to fit on a disk. Halfway, the program is
killed (kill -9) and started again. Rows: notes per second and core, that is, per CPU second of both runs and all their
processes; and the peak memory of all processes, with shared memory counted once.

`full_size/training` trains natsiou2023 by experiments/train.py on a store of 300,000 notes that repeats 1,024 notes and their
features (by hard links). Rows: seconds from the command to the first step, without and with compiled programs in the cache;
memory after 20 steps, and the peak of the second half. All data come from the file cache of the system; a disk adds its own
time to a batch.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.benchmarks.synthetic_nsynth import FORMS, SPLITS, write_nsynth
from experiments.benchmarks.timing import row

PROGRAMS = Path(__file__).resolve().parents[1]
NAMES = (*FORMS, "training")
STORE_SOUNDS, REPEATED, STEPS = 1024, 300_000, 400


def run(name: str) -> list[dict]:
    """Runs one of `NAMES`, or NAME:NUMBER with that number of notes, and returns its rows.

    Raises:
      ValueError: if the name is unknown.
    """
    check_name(name)
    name, _, number = name.partition(":")
    with tempfile.TemporaryDirectory(prefix="timbre_full_size_") as folder:
        measure = _measure_training if name == "training" else _measure_preparation
        return measure(name, Path(folder), int(number or (REPEATED if name == "training" else sum(SPLITS.values()))))


def check_name(name: str) -> None:
    """Raises a ValueError if `run` does not have a benchmark of this name."""
    kind, colon, number = name.partition(":")
    if kind not in NAMES or (colon and not number.isdecimal()):
        known = ", ".join(f"full_size/{name}" for name in NAMES)
        raise ValueError(f"full_size/{name}: unknown benchmark; the benchmarks are {known}")


def _measure_preparation(form: str, folder: Path, number: int) -> list[dict]:
    """Measures the preparation of a store, which is killed once, and returns the rows."""
    from timbre_jax.data.store import Store

    splits = {split: max(1, round(number * count / sum(SPLITS.values()))) for split, count in SPLITS.items()}
    write_nsynth(folder / "nsynth", form, splits)
    command = [str(PROGRAMS / "prepare.py"), f"--source={'tfds' if form.endswith('record') else 'nsynth'}"]
    command += [f"--path={folder / 'nsynth'}", f"--out={folder / 'store'}", "--keep_all", "--noprogress"]
    total, finished = sum(splits.values()), folder / "store.partial" / "preparing"

    def is_half_done(_memory: int) -> bool:
        return 2 * 512 * len(list(finished.glob("*.json"))) > total

    first = measure_usage(command, stop_when=is_half_done)
    second = measure_usage(command) if first.killed else Usage(0.0, 0, False)  # few notes may finish before they are half done
    counts = Store.open(folder / "store").index["doctor"]
    if counts["notes"] != total or counts["kept"] < 0.95 * total:
        raise ValueError(f"store: got {counts['kept']} of {counts['notes']} notes, expected {total}")
    return [
        row(f"full_size/{form}", "notes/s and core", total / (first.cpu_seconds + second.cpu_seconds)),
        row(f"full_size/{form}/memory", "GB", max(first.memory, second.memory) / 1e9),
    ]


def _measure_training(_: str, folder: Path, number: int) -> list[dict]:
    """Measures training on a large store, without and with cached programs."""
    from experiments.benchmarks.configs import make_store
    from experiments.config_flags import load_config
    from timbre_jax.data.datasets import base_representation, open_sources
    from timbre_jax.training.config import resolve

    config = resolve(load_config("natsiou2023"))
    config.data.store = str(make_store(config, folder / "small", sounds=STORE_SOUNDS))
    open_sources(config, progress=False)  # caches the features
    repeat_store(folder / "small", folder / "store", base_representation(config), number)
    command = [str(PROGRAMS / "train.py"), "--config=natsiou2023", f"--config.data.store={folder / 'store'}"]
    command += [f"--config.train.steps={STEPS}", "--config.train.log_every=1", "--config.train.eval_every=100000"]
    command += ["--noprogress"]
    start = {}
    for cache, steps in (("cold", 2), ("warm", STEPS)):
        samples: list[tuple[int, float, int]] = []  # (steps, seconds, memory)
        lines, began = folder / cache / "metrics.jsonl", time.monotonic()

        def is_done(memory: int, lines=lines, began=began, samples=samples, steps=steps) -> bool:
            step = lines.read_bytes().count(b'"event": "train"') if lines.is_file() else 0
            if step:
                samples.append((step, time.monotonic() - began, memory))
            return step >= steps

        measure_usage([*command, f"--workdir={folder / cache}"], stop_when=is_done, cache=folder / "cache", every=0.2)
        start[cache] = samples[0][1]
    early = max(memory for step, _, memory in samples if step <= STEPS // 20)
    late = max(memory for step, _, memory in samples if step > STEPS // 2)
    return [
        row("full_size/training/start", "s to the first step", start["cold"]),
        row("full_size/training/start_again", "s to the first step, cached programs", start["warm"]),
        row(f"full_size/training/memory_{STEPS // 20}_steps", "GB", early / 1e9),
        row(f"full_size/training/memory_{STEPS}_steps", "GB", late / 1e9),
    ]


def repeat_store(small: Path, large: Path, representation, number: int) -> Path:
    """Makes a large store, with cached features, that repeats the notes of a small store.

    The files are hard links, so the large store takes no space. Its validation notes and feature ranges are those of the small
    store.

    Args:
      small: small store.
      large: folder of the large store, which must not exist.
      representation: representation whose features are cached.
      number: smallest number of training notes.

    Returns:
      The folder of the large store.
    """
    from timbre_jax.data.features import features_folder
    from timbre_jax.data.store import Store

    index = json.loads((small / "index.json").read_text())
    with open(small / "records.csv", encoding="utf-8", newline="") as file:
        header, *records = csv.reader(file)
    rounds = -(-number // index["splits"]["train"]["count"])
    large.mkdir()
    for split, layout in index["splits"].items():
        files = layout["shards"] * (rounds if split == "train" else 1)
        layout["shards"] = _link_shards(small, large, split, files)
        layout["count"] = sum(shard["count"] for shard in files)
    with open(large / "records.csv", "w", encoding="utf-8", newline="") as file:
        writer, places, running = csv.writer(file), dict.fromkeys(index["splits"], 0), 0
        writer.writerow(header)
        for split in index["splits"]:
            own = [record for record in records if record[1] == split]
            for turn in range(rounds if split == "train" else 1):
                for record in own:
                    columns = dict(zip(header, record, strict=True))
                    columns |= {"index": running, "position": places[split], "id": f"{columns['id']}_{turn}"}
                    columns["shard"] = int(columns["shard"]) + turn * len({record[3] for record in own})
                    writer.writerow(columns.values())
                    places[split], running = places[split] + 1, running + 1
    index["fingerprint"] = f"{index['fingerprint']}-{rounds}"
    (large / "index.json").write_text(json.dumps(index))
    source, target = (features_folder(Store.open(path), representation) for path in (small, large))
    target.mkdir(parents=True)
    for split in ("train", "valid"):
        layout = json.loads((source / f"{split}.features.json").read_text())
        files = layout["shards"] * (rounds if split == "train" else 1)
        layout |= {"shards": _link_shards(source, target, split, files), "count": sum(shard["count"] for shard in files)}
        (target / f"{split}.features.json").write_text(json.dumps(layout))
        ranges = f"{split}.ranges.json"
        if (source / ranges).is_file():
            os.link(source / ranges, target / ranges)
    return large


def _link_shards(source: Path, target: Path, split: str, shards: Sequence[dict]) -> list[dict]:
    """Links shards into a folder, renumbered, and returns their new entries."""
    result = []
    for number, shard in enumerate(shards):
        name = f"{split}-{number:05d}-of-{len(shards):05d}{Path(shard['file']).suffix}"
        os.link(source / shard["file"], target / name)
        result.append({**shard, "file": name})
    return result


class Usage(NamedTuple):
    """Resources that a process and its descendants used.

    Attributes:
      cpu_seconds: CPU seconds.
      memory: peak memory in bytes.
      killed: whether it was killed.
    """

    cpu_seconds: float
    memory: int
    killed: bool


def measure_usage(
    arguments: Sequence[str],
    *,
    stop_when: Callable[[int], bool] | None = None,
    cache: Path | None = None,
    every: float = 0.5,
) -> Usage:
    """Runs Python and measures what it uses.

    Args:
      arguments: arguments of Python.
      stop_when: takes the memory in bytes; if it returns True, the process is killed (kill -9).
      cache: folder of JAX's compilation cache.
      every: seconds between measurements.

    Raises:
      ValueError: if the process ends with an error.
    """
    environment = {**os.environ, **({"JAX_COMPILATION_CACHE_DIR": str(cache)} if cache else {})}
    cpu_seconds, peak, killed = 0.0, 0, False
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen([sys.executable, *arguments], stdout=output, stderr=output, env=environment) as process,
    ):
        while process.poll() is None:
            time.sleep(every)
            memory, used = tree_usage(process.pid)
            peak, cpu_seconds = max(peak, memory), max(cpu_seconds, used)
            if stop_when and stop_when(memory):
                process.kill()
                killed = True
                break
        process.wait()
        output.seek(0)
        lines = output.read().strip().splitlines()
    if process.returncode and not killed:
        raise ValueError(f"{' '.join(arguments[:2])}: exit code {process.returncode} ({lines[-1] if lines else 'no output'})")
    return Usage(cpu_seconds, peak, killed)


def tree_usage(root: int) -> tuple[int, float]:
    """Returns the memory in bytes and the CPU seconds of a process and its descendants.

    Shared memory counts once. Both are 0 on systems without /proc.
    """
    children: dict[int, list[int]] = {}
    times: dict[int, float] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
                times[int(entry)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    memory, cpu_seconds, waiting = 0, 0.0, [root]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        cpu_seconds += times.get(process, 0.0)
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = Path("/proc", str(process), "smaps_rollup").read_text().splitlines()
            memory += 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return memory, cpu_seconds
