"""Summaries of what the doctor kept and left out: the page in the store, and lines for the person who made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from timbre_jax.data.store import Store


class DoctorCounts:
    """Counts kept notes, reasons and remarks (without what stands in brackets), note by note."""

    def __init__(self):
        self._notes, self._reasons, self._remarks = 0, Counter(), Counter()

    def add(self, left_out: str, remarks: str) -> None:
        self._notes += 1
        if left_out:
            self._reasons[left_out.split(" (")[0]] += 1
        for remark in filter(None, remarks.split("; ")):
            self._remarks[remark.split(" (")[0]] += 1

    def counts(self) -> dict[str, Any]:
        """{"notes", "kept", "left_out": {reason: notes}, "remarks": {remark: notes}}, the most frequent first."""
        left_out = dict(self._reasons.most_common())
        kept = self._notes - sum(left_out.values())
        return {"notes": self._notes, "kept": kept, "left_out": left_out, "remarks": dict(self._remarks.most_common())}


def doctor_page(title: str, counts: Mapping[str, Any]) -> str:
    """The summary as a page; the single notes are in doctor.csv."""
    total = max(counts["notes"], 1)
    lines = [
        f"# The doctor's report: {title}", "",
        f"{counts['kept']} of {counts['notes']} sounds kept ({100 * counts['kept'] / total:.1f} %).",
        "Every sound and its reason: `doctor.csv`.", "",
        "| left out because | sounds | % |", "|---|---:|---:|",
    ]  # fmt: skip
    lines += [f"| {reason} | {count} | {100 * count / total:.1f} |" for reason, count in counts["left_out"].items()]
    if counts["remarks"]:
        lines += ["", "| remark on sounds that were read | sounds |", "|---|---:|"]
        lines += [f"| {remark} | {count} |" for remark, count in counts["remarks"].items()]
    return "\n".join(lines) + "\n"


def shared_instruments(store: Store) -> int:
    """Counts the instruments that have sounds both to train on and held out."""
    names = {split: set(layout["instruments"]) for split, layout in store.index["splits"].items()}
    return len(names.get("train", set()) & (names.get("valid", set()) | names.get("test", set())))


def summary(store: Store) -> str:
    """Returns a few lines on a new store: sounds per split and class, what was left out, where the report is."""
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
