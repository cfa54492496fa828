"""Builds a store from an importer: in parallel, resumable, atomic, in bounded memory.

All work is done shard by shard in the folder `OUT.partial`. A shard is finished when the results of its quality check are
written, after its sounds. The folder gets its final name when all files, `index.json` included, are complete. A killed run
therefore leaves no store; the same command resumes with the unfinished shards and produces the same bytes.
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
from timbre_jax.data.importers.base import SPLITS, UNSORTED, AudioFormat, Importer, Record
from timbre_jax.data.prepare import quality
from timbre_jax.data.prepare.arrange import arrange, content_fingerprint
from timbre_jax.data.prepare.shards import PREPARING, ShardFiles, drop_duplicates, make_shards, publish, remove_work_files
from timbre_jax.data.store import FORMAT, VERSION, Store
from timbre_jax.files import disk_full_message, locked, write_text

BATCH = 64
MAX_SAMPLES = BATCH * 64_000  # loaded at once by a process; limits the number of long sounds
SHARD_SIZE = 512


class CheckResult(NamedTuple):
    """Loaded sound after its checks: samples [T] int16 (`pcm`), or the reason to leave it out."""

    pcm: np.ndarray | None
    left_out: str
    remarks: tuple[str, ...]
    f0: float
    pitch_moves: bool
    digest: str
    signature: bytes


def build_store(
    source: Importer,
    out: str | os.PathLike,
    *,
    quality_check: quality.QualityCheck | None = None,
    check_settings: dict[str, Any] | None = None,
    workers: int | None = None,
    shard_size: int = SHARD_SIZE,
    overwrite: bool = False,
    progress: bool = True,
) -> Store:
    """Builds a store; a finished store with the same settings is opened instead.

    Args:
      source: importer of the sounds; an `ArrangingImporter` splits them after all of them are loaded.
      out: folder of the store.
      quality_check: check of pitch and harmonics; None skips it.
      check_settings: settings of the check as JSON values, for the index.
      workers: number of loading processes; None means one per core, 1 loads in this process.
      shard_size: sounds per file, before the quality check; a multiple of `BATCH`.
      overwrite: whether to replace a store, or unfinished work, with other settings.
      progress: whether to show a progress bar.

    Raises:
      ValueError: the folder is in use, the importer has no sounds, no sound is left, or the disk is full.
    """
    out = Path(out)
    if shard_size % BATCH:
        raise ValueError(f"shard_size={shard_size}: must be a multiple of {BATCH}")
    records = source.plan()
    settings = {"source": dict(source.describe()), "doctor": check_settings or {}, "shard_size": shard_size}
    fingerprint = _fingerprint(settings, records)
    if (out / "index.json").is_file() and not overwrite:
        store = Store.open(out)
        if store.index.get("plan", store.index["fingerprint"]) != fingerprint:
            raise ValueError(f"{out}: contains a store with other settings or files; use another --out or add --overwrite")
        remove_work_files(out)  # a run killed at the very end leaves temporary files
        return store
    if out.exists() and not (out / "index.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: exists and is not a store; use another --out")
    partial = out.with_name(out.name + ".partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        in_use = f"{partial}: in use by another prepare; wait for it to end or use another --out"
        with locked(partial / ".lock", message=in_use):
            _prepare_folder(partial, fingerprint, overwrite=overwrite)
            shards = []
            for split in (*SPLITS, UNSORTED):
                positions = [position for position, record in enumerate(records) if record.split == split]
                shards += make_shards(partial, split, positions, shard_size)
            if not shards:
                raise ValueError(f"{out}: the settings select no sound ({_rejection_summary(records)}); change them")
            _load_all(source, records, shards, quality_check=quality_check, workers=workers, progress=progress)
            unstored = [record._asdict() for record in records if not record.split]
            unsorted = shards[0].split == UNSORTED
            if unsorted:
                shards, left_out = arrange(source, shards, partial, shard_size=shard_size, progress=progress)
                unstored += left_out
            else:
                drop_duplicates(shards)
            index = {
                "format": FORMAT, "version": VERSION, "sample_rate": source.audio_format.sample_rate,
                "samples": source.audio_format.samples, "variable": source.audio_format.variable,
                "encoding": "int16 little-endian, 1 = 32768", "title": settings["source"]["title"],
                "license": settings["source"]["license"], "settings": settings, "fingerprint": fingerprint,
            }  # fmt: skip
            if unsorted:  # files may change without a change of the plan
                index |= {"plan": fingerprint, "fingerprint": content_fingerprint(fingerprint, shards)}
            publish(partial, out, shards, unstored, index, overwrite=overwrite)
    except BrokenExecutor:
        raise ValueError(
            "loading process: ended unexpectedly, probably because memory was exhausted; run the same command again with fewer "
            "--workers, finished work is kept"
        ) from None
    except OSError as error:
        remedy = "free disk space, then run" if disk_full_message(error) else "fix this, then run"
        raise ValueError(
            f"{error.filename or partial}: {error.strerror or error}; {remedy} the same command again, finished work is kept"
        ) from None
    return Store.open(out)


def _fingerprint(settings: dict, records: list[Record]) -> str:
    """Returns a fingerprint of settings and plan."""
    state = hashlib.sha256(json.dumps([FORMAT, VERSION, settings], sort_keys=True).encode())
    for record in records:
        state.update(repr((*record[:8], record.left_out)).encode())
        if record.split == UNSORTED:  # names alone do not identify files
            state.update(repr(record.location).encode())
    return state.hexdigest()[:32]


def _rejection_summary(records: list[Record]) -> str:
    """Returns the most frequent reasons why sounds are not selected."""
    reasons = collections.Counter(record.left_out for record in records)
    return "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(2)) or "no sounds found"


def _prepare_folder(partial: Path, fingerprint: str, *, overwrite: bool) -> None:
    """Prepares the working folder. Raises a ValueError if it has work with other settings."""
    fingerprint_file = partial / PREPARING / "fingerprint"
    if fingerprint_file.is_file() and fingerprint_file.read_text() != fingerprint:
        if not overwrite:
            raise ValueError(
                f"{partial}: unfinished work with other settings; finish it with those, delete the folder, or add --overwrite"
            )
        for entry in partial.iterdir():
            if entry.name != ".lock":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    (partial / PREPARING).mkdir(exist_ok=True)
    for entry in [*partial.glob(".*.tmp*"), *(partial / PREPARING).glob(".*.tmp*")]:
        entry.unlink()  # left by a killed run
    write_text(fingerprint_file, fingerprint, sync=True)


def _load_all(source, records, shards, *, quality_check, workers, progress) -> None:
    """Loads, checks and writes every shard that is not finished."""
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
    batch_size = max(1, min(BATCH, MAX_SAMPLES // source.audio_format.samples))
    workers = max(1, min(workers, -(-len(shard_of) // batch_size)))
    with (
        _executor(workers) as submit,
        tqdm(total=total, initial=done, unit=" sounds", desc="sounds", disable=not progress, smoothing=0.05) as bar,
    ):
        pending: collections.deque[tuple[ShardFiles, list[int], Future]] = collections.deque()

        def finish_oldest() -> None:
            """Writes the oldest pending batch."""
            shard, positions, future = pending.popleft()
            results = _apply_check(
                future.result(), [records[position] for position in positions], quality_check, source.audio_format
            )
            shard.add([records[position] for position in positions], results)
            bar.update(len(positions))

        batches: dict[ShardFiles, list[tuple[int, Any]]] = {}

        def submit_batch(shard: ShardFiles) -> None:
            """Submits the batch of a shard."""
            batch = batches.pop(shard)
            arguments = [(records[position], payload) for position, payload in batch]
            pending.append((shard, [position for position, _ in batch], submit(_load_batch, source, arguments)))
            # At most two pending batches per process, so that memory does not grow with the number of sounds.
            if len(pending) > 2 * workers:
                finish_oldest()

        for position, payload in source.fetch(records, sorted(shard_of)):
            shard = shard_of[position]
            batches.setdefault(shard, []).append((position, payload))
            if len(batches[shard]) == batch_size or position == shard.positions[-1]:
                submit_batch(shard)
        # Archives have their own order, so the last sound of a shard may come earlier.
        for shard in list(batches):
            submit_batch(shard)
        while pending:
            finish_oldest()


def _call_now(function, *arguments) -> Future:
    """Returns a finished future of a call in this process."""
    future: Future = Future()
    future.set_result(function(*arguments))
    return future


@contextlib.contextmanager
def _executor(workers: int):
    """Yields a function that submits calls to the loading processes."""
    if workers == 1:
        yield _call_now
        return
    # Spawned, not forked: if JAX runs in this process, its threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(os.getpid(),))
    try:
        yield pool.submit
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _start_worker(parent: int) -> None:
    """Ends this process when its parent ends, even if killed, and leaves Ctrl-C to the parent."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _load_batch(source: Importer, arguments: list[tuple[Record, Any]]) -> list[CheckResult]:
    """Loads sounds in a loading process."""
    return [_load_sound(source, record, payload) for record, payload in arguments]


def _load_sound(source: Importer, record: Record, payload: Any) -> CheckResult:
    """Loads a sound and checks its wave."""
    try:
        loaded = source.load(record, payload)
    except Exception as error:  # one bad sound must not end the run; the report lists it with its reason
        text = " ".join(str(error).split())
        reason = text if isinstance(error, AudioFileError) else f"{type(error).__name__}: {text}"
        return CheckResult(None, f"unreadable ({reason})", (), 0.0, False, "", b"")
    audio_format = source.audio_format
    reason = quality.wave_problem(loaded.wave, audio_format.sample_rate, audio_format.min_seconds) or loaded.left_out
    if reason:
        return CheckResult(None, reason, loaded.remarks, loaded.f0, loaded.pitch_moves, "", b"")
    remarks = loaded.remarks
    pcm, clipped = quality.to_pcm(loaded.wave[: audio_format.samples])
    if clipped:
        remarks = (*remarks, f"clipped ({clipped} samples)")
    signature = loaded.signature
    if not signature:
        signature = quality.signature(np.pad(pcm, (0, audio_format.samples - len(pcm))).astype(np.float32) / 32768).tobytes()
    return CheckResult(pcm, "", remarks, loaded.f0, loaded.pitch_moves, quality.digest(pcm), signature)


def _apply_check(
    results: list[CheckResult], records: list[Record], quality_check: quality.QualityCheck | None, audio_format: AudioFormat
) -> list[CheckResult]:
    """Adds the reasons of the quality check to results; all its batches have one shape."""
    kept = [row for row, result in enumerate(results) if result.pcm is not None]
    if quality_check is None or not kept:
        return results
    waves = np.zeros((BATCH, audio_format.samples), np.float32)
    pitches, f0 = np.full(BATCH, -1, np.int64), np.zeros(BATCH)
    for row in kept:
        pcm = results[row].pcm
        waves[row, : len(pcm)] = pcm.astype(np.float32) * np.float32(1 / 32768)
        pitches[row], f0[row] = records[row].pitch, results[row].f0
    reasons = quality_check(waves, pitches, f0)
    return [
        result._replace(pcm=None, left_out=reasons[row]) if result.pcm is not None and reasons[row] else result
        for row, result in enumerate(results)
    ]
