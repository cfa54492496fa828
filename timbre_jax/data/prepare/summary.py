"""Reports on a store: which sounds were kept, which were left out, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from timbre_jax.data.store import Store


class QualityCounts:
    """Counter of kept sounds, reasons and remarks, without their parts in parentheses."""

    def __init__(self):
        self._notes, self._reasons, self._remarks = 0, Counter(), Counter()

    def add(self, left_out: str, remarks: str) -> None:
        """Counts a sound."""
        self._notes += 1
        if left_out:
            self._reasons[left_out.split(" (")[0]] += 1
        for remark in filter(None, remarks.split("; ")):
            self._remarks[remark.split(" (")[0]] += 1

    def counts(self) -> dict[str, Any]:
        """Returns "notes", "kept", "left_out" (count by reason) and "remarks" (count by remark)."""
        left_out = dict(self._reasons.most_common())
        kept = self._notes - sum(left_out.values())
        return {"notes": self._notes, "kept": kept, "left_out": left_out, "remarks": dict(self._remarks.most_common())}


def quality_page(title: str, counts: Mapping[str, Any]) -> str:
    """Returns the quality report as Markdown."""
    total = max(counts["notes"], 1)
    lines = [
        f"# Quality report: {title}", "",
        f"{counts['kept']} of {counts['notes']} sounds kept ({100 * counts['kept'] / total:.1f} %).",
        "`doctor.csv` lists every sound with its reason.", "",
        "| reason for leaving out | sounds | % |", "|---|---:|---:|",
    ]  # fmt: skip
    lines += [f"| {reason} | {count} | {100 * count / total:.1f} |" for reason, count in counts["left_out"].items()]
    if counts["remarks"]:
        lines += ["", "| remark | sounds |", "|---|---:|"]
        lines += [f"| {remark} | {count} |" for remark, count in counts["remarks"].items()]
    return "\n".join(lines) + "\n"


def shared_instruments(store: Store) -> int:
    """Returns the number of instruments with sounds both in train and in held-out splits."""
    names = {split: set(layout["instruments"]) for split, layout in store.index["splits"].items()}
    return len(names.get("train", set()) & (names.get("valid", set()) | names.get("test", set())))


def describe_store(store: Store) -> str:
    """Returns a few lines about a new store: its sounds and classes, and what was left out."""
    counts = store.index["doctor"]
    lines = [f"{store.path}: " + ", ".join(f"{store.length(split)} {split}" for split in store.splits)]
    if store.index["settings"]["source"]["kind"] in ("folder", "kits", "recordings", "phrases"):
        lengths = np.concatenate([store.lengths(split) for split in store.splits]) / store.sample_rate
        families = np.concatenate([store.metadata(split)["family"] for split in store.splits])
        names, numbers = np.unique(families, return_counts=True)
        shown = f"{lengths.min():.3f} to {lengths.max():.2f} s, {lengths.mean():.2f} s on average"
        if lengths.min() == lengths.max():
            shown = f"{lengths.max():g} s each"
        padded = "" if store.variable else f"; padded to {store.samples / store.sample_rate:g} s"
        classes = [f"{names[i]} {numbers[i]}" for i in np.argsort(-numbers, kind="stable")[:20]]
        count, more = f"{len(names)} class{'' if len(names) == 1 else 'es'}", ", ..." if len(names) > 20 else ""
        lines += [f"{store.sample_rate} Hz, {shown}{padded}", f"{count}: {', '.join(classes)}{more}"]
        lines += [
            f"warning: {split} has no sounds, since there are too few; see --splits"
            for split, share in zip(("train", "valid", "test"), store.index["settings"]["source"]["fractions"], strict=True)
            if share and split not in store.splits
        ]
    if shared := shared_instruments(store):
        lines.append(
            f"warning: {shared} instruments are both in train and held-out, so scores are for known instruments; use a "
            "--split_file to split by instrument"
        )
    left_out = ", ".join(f"{number} {reason}" for reason, number in counts["left_out"].items())
    lines.append(f"kept {counts['kept']} of {counts['notes']} sounds{'; left out: ' + left_out if left_out else ''}")
    lines.append(f"report: {store.path / 'doctor.md'}; every sound: {store.path / 'doctor.csv'}")
    return "\n".join(lines)
