"""Makes a store of a source: parallel, resumable, atomic, in bounded memory.

All work happens in `OUT.partial`, shard by shard; a shard counts once its verdicts are written, which happens after its
sounds. The folder gets its real name when everything, `index.json` included, is in it. So a killed run leaves no store, and
the same command goes on with the shards that are still open and ends with the same bytes.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from timbre_jax.audio.io import AudioFileError
from timbre_jax.data.importers.base import SPLITS, UNSORTED, Form, Importer, Record
from timbre_jax.data.prepare import quality
from timbre_jax.data.prepare.arrange import arrange, content_fingerprint
from timbre_jax.data.prepare.shards import PREPARING, ShardFiles, clear, drop_duplicates, make_shards, publish
from timbre_jax.data.store import FORMAT, VERSION, Store
from timbre_jax.files import disk_full_message, locked, write_text

BATCH = 64
MAX_SAMPLES = BATCH * 64_000  # loaded at once by a process: fewer sounds where they may be long
SHARD_SIZE = 512


class Verdict(NamedTuple):
    """What a loading process says of a sound; `pcm` is [T] int16 without padding, or None where it was left out."""

    pcm: np.ndarray | None
    left_out: str
    remarks: tuple[str, ...]
    f0: float
    pitch_moves: bool
    digest: str
    mark: bytes


def build_store(
    source: Importer,
    out: str | os.PathLike,
    *,
    judge: quality.Judge | None = None,
    judge_settings: dict[str, Any] | None = None,
    workers: int | None = None,
    shard_size: int = SHARD_SIZE,
    overwrite: bool = False,
    progress: bool = True,
) -> Store:
    """Turns a source into a store; a finished store of the same settings is opened as it is.

    Args:
      source: importer of the sounds; an `ArrangingImporter` has all of them loaded before they are split.
      out: the folder to make.
      judge: the look at pitch and harmonics, see `quality.Judge`; None keeps whatever sounds.
      judge_settings: what decides the judge's answers, as JSON values; kept in the index.
      workers: loading processes; None means one a core, 1 loads in this process.
      shard_size: sounds a file, before the doctor.
      overwrite: replace a store, or unfinished work, of other settings.
      progress: show a bar with the time left.

    Raises:
      ValueError: the folder holds something else, the source has nothing, no sound is left, or the disk is full.
    """
    out = Path(out)
    if shard_size % BATCH:
        raise ValueError(f"shard_size {shard_size}: a multiple of {BATCH} is needed")
    records = source.plan()
    settings = {"source": dict(source.describe()), "doctor": judge_settings or {}, "shard_size": shard_size}
    fingerprint = _fingerprint(settings, records)
    if (out / "index.json").is_file() and not overwrite:
        store = Store.open(out)
        if store.index.get("plan", store.index["fingerprint"]) != fingerprint:
            raise ValueError(f"{out}: holds a store of other settings or files; name another --out or add --overwrite")
        clear(out)  # what a kill in the very last moment has left
        return store
    if out.exists() and not (out / "index.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: is there already and is no store; name another --out")
    partial = out.with_name(out.name + ".partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        taken = f"{partial}: another prepare is writing here; wait for it or name another --out"
        with locked(partial / ".lock", message=taken):
            _claim(partial, fingerprint, overwrite=overwrite)
            shards = []
            for split in (*SPLITS, UNSORTED):
                positions = [position for position, record in enumerate(records) if record.split == split]
                shards += make_shards(partial, split, positions, shard_size)
            if not shards:
                raise ValueError(f"no sound of the source is asked for ({_why_empty(records)})")
            _load_all(source, records, shards, judge=judge, workers=workers, progress=progress)
            others = [record._asdict() for record in records if not record.split]
            unsorted = shards[0].split == UNSORTED
            if unsorted:
                shards, left_out = arrange(source, shards, partial, shard_size=shard_size, progress=progress)
                others += left_out
            else:
                drop_duplicates(shards)
            index = {
                "format": FORMAT, "version": VERSION, "sample_rate": source.form.sample_rate,
                "samples": source.form.samples, "variable": source.form.variable,
                "encoding": "int16 little-endian, 1 = 32768", "title": settings["source"]["title"],
                "license": settings["source"]["license"], "settings": settings, "fingerprint": fingerprint,
            }  # fmt: skip
            if unsorted:  # files may change while their plan stays the same
                index |= {"plan": fingerprint, "fingerprint": content_fingerprint(fingerprint, shards)}
            publish(partial, out, shards, others, index, overwrite=overwrite)
    except BrokenExecutor:
        raise ValueError(
            "a loading process died, probably for want of memory; run the same command again with a smaller --workers: "
            "finished work is kept"
        ) from None
    except OSError as error:
        what = "make room or name another --out, then run" if disk_full_message(error) else "once that is mended, run"
        raise ValueError(
            f"{error.filename or partial}: {error.strerror or error}; {what} the same command again: finished work is kept"
        ) from None
    return Store.open(out)


def _fingerprint(settings: dict, records: list[Record]) -> str:
    state = hashlib.sha256(json.dumps([FORMAT, VERSION, settings], sort_keys=True).encode())
    for record in records:
        state.update(repr((*record[:8], record.left_out)).encode())
        if record.split == UNSORTED:  # names alone do not say which files were read
            state.update(repr(record.where).encode())
    return state.hexdigest()[:32]


def _why_empty(records: list[Record]) -> str:
    reasons = collections.Counter(record.left_out for record in records)
    return "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(2)) or "it is empty"


def _claim(partial: Path, fingerprint: str, *, overwrite: bool) -> None:
    """Makes the working folder ours: goes on with our own unfinished work, refuses another's."""
    mark = partial / PREPARING / "fingerprint"
    if mark.is_file() and mark.read_text() != fingerprint:
        if not overwrite:
            raise ValueError(
                f"{partial}: unfinished work of other settings; finish it with those, delete the folder, or add --overwrite"
            )
        for entry in partial.iterdir():
            if entry.name != ".lock":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    (partial / PREPARING).mkdir(exist_ok=True)
    for entry in [*partial.glob(".*.tmp*"), *(partial / PREPARING).glob(".*.tmp*")]:
        entry.unlink()  # files that a killed run was writing
    write_text(mark, fingerprint, sync=True)


# Loading. --------------------------------------------------------------------------------------------------------------


def _load_all(source, records, shards, *, judge, workers, progress) -> None:
    """Loads, judges and writes every shard that is not finished yet."""
    from tqdm import tqdm

    shard_of: dict[int, ShardFiles] = {}
    done = 0
    for shard in shards:
        if shard.is_finished():
            done += len(shard.positions)
        else:
            shard_of.update(dict.fromkeys(shard.positions, shard))
    total = sum(len(shard.positions) for shard in shards)
    if not shard_of:
        return
    if not workers:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    batch_size = max(1, min(BATCH, MAX_SAMPLES // source.form.samples))
    workers = max(1, min(workers, -(-len(shard_of) // batch_size)))
    with (
        _executor(workers) as submit,
        tqdm(total=total, initial=done, unit=" sounds", desc="sounds", disable=not progress, smoothing=0.05) as bar,
    ):
        waiting: collections.deque[tuple[ShardFiles, list[int], Future]] = collections.deque()

        def settle() -> None:
            shard, positions, future = waiting.popleft()
            verdicts = _judged(future.result(), [records[position] for position in positions], judge, source.form)
            shard.add([records[position] for position in positions], verdicts)
            bar.update(len(positions))

        gathered: dict[ShardFiles, list[tuple[int, Any]]] = {}

        def begin(shard: ShardFiles) -> None:
            batch = gathered.pop(shard)
            arguments = [(records[position], payload) for position, payload in batch]
            waiting.append((shard, [position for position, _ in batch], submit(_load_batch, source, arguments)))
            # No more than two batches a process in the air: memory does not grow with the number of sounds.
            if len(waiting) > 2 * workers:
                settle()

        for position, payload in source.fetch(records, sorted(shard_of)):
            shard = shard_of[position]
            gathered.setdefault(shard, []).append((position, payload))
            if len(gathered[shard]) == batch_size or position == shard.positions[-1]:
                begin(shard)
        # An archive has its own order: there the last sound of a shard need not come last.
        for shard in list(gathered):
            begin(shard)
        while waiting:
            settle()


def _call_now(function, *arguments) -> Future:
    """Does the work at once, in this process."""
    future: Future = Future()
    future.set_result(function(*arguments))
    return future


@contextlib.contextmanager
def _executor(workers: int):
    if workers == 1:
        yield _call_now
        return
    # Spawned, not forked: JAX may be running in this process, and its threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(os.getpid(),))
    try:
        yield pool.submit
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _start_worker(parent: int) -> None:
    """Ends with its parent, also when that is killed, and leaves Ctrl-C to it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _load_batch(source: Importer, arguments: list[tuple[Record, Any]]) -> list[Verdict]:
    return [_load_sound(source, record, payload) for record, payload in arguments]


def _load_sound(source: Importer, record: Record, payload: Any) -> Verdict:
    try:
        loaded = source.load(record, payload)
    except Exception as error:  # one bad sound must not end the run: it is in the report with its reason
        text = " ".join(str(error).split())
        reason = text if isinstance(error, AudioFileError) else f"{type(error).__name__}: {text}"
        return Verdict(None, f"unreadable ({reason})", (), 0.0, False, "", b"")
    form = source.form
    reason = quality.check_wave(loaded.wave, form.sample_rate, form.min_seconds) or loaded.left_out
    if reason:
        return Verdict(None, reason, loaded.remarks, loaded.f0, loaded.pitch_moves, "", b"")
    remarks = loaded.remarks
    pcm, clipped = quality.to_pcm(loaded.wave[: form.samples])
    if clipped:
        remarks = (*remarks, f"clipped ({clipped} samples)")
    mark = loaded.mark
    if not mark:
        mark = quality.signature(np.pad(pcm, (0, form.samples - len(pcm))).astype(np.float32) / 32768).tobytes()
    return Verdict(pcm, "", remarks, loaded.f0, loaded.pitch_moves, quality.digest(pcm), mark)


def _judged(verdicts: list[Verdict], records: list[Record], judge: quality.Judge | None, form: Form) -> list[Verdict]:
    """Puts the judge's reasons into the verdicts; the batch always has the same shape."""
    alive = [place for place, verdict in enumerate(verdicts) if verdict.pcm is not None]
    if judge is None or not alive:
        return verdicts
    waves = np.zeros((BATCH, form.samples), np.float32)
    pitches, f0 = np.full(BATCH, -1, np.int64), np.zeros(BATCH)
    for place in alive:
        pcm = verdicts[place].pcm
        waves[place, : len(pcm)] = pcm.astype(np.float32) * np.float32(1 / 32768)
        pitches[place], f0[place] = records[place].pitch, verdicts[place].f0
    reasons = judge(waves, pitches, f0)
    return [
        verdict._replace(pcm=None, left_out=reasons[place]) if verdict.pcm is not None and reasons[place] else verdict
        for place, verdict in enumerate(verdicts)
    ]
