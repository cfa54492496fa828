"""Shared parts of importers of sample libraries: settings, trimming, selection and splits."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from timbre_jax.data.importers.base import SPLITS, AudioFormat, Record, SplitAssignment
from timbre_jax.data.importers.class_rules import UNLABELED
from timbre_jax.data.importers.duplicates import group_copies, onset
from timbre_jax.data.importers.options import ImporterSettings
from timbre_jax.data.importers.splits import connected_groups, split_groups
from timbre_jax.settings import setting

FRACTIONS = (0.8, 0.1, 0.1)
MIN_SECONDS = 0.002
PREROLL_SECONDS = 0.002
DUPLICATES = ("one", "exact", "all")


def library_format(sample_rate: int, seconds: float, max_seconds: float) -> AudioFormat:
    """Returns the format of sounds of one length, or of lengths up to `max_seconds`.

    Raises:
      ValueError: a value is out of range.
    """
    for name, value in (("seconds", seconds), ("max_seconds", max_seconds)):
        if not np.isfinite(value) or value < 0 or value > 600:
            raise ValueError(f"{name}={value:g}: must be from 0 to 600")
    if not seconds and not max_seconds:
        raise ValueError("seconds=0: needs max_seconds above 0, the length that longer sounds are cut to")
    limit = seconds or max_seconds
    if limit < MIN_SECONDS:
        raise ValueError(f"{'seconds' if seconds else 'max_seconds'}={limit:g}: must be at least {MIN_SECONDS:g}")
    return AudioFormat(sample_rate, round(limit * sample_rate), variable=not seconds, min_seconds=MIN_SECONDS)


def parse_fractions(text: str) -> tuple[float, ...]:
    """Parses percentages: "80,10,10" gives (0.8, 0.1, 0.1).

    Raises:
      ValueError: the text cannot be parsed.
    """
    try:
        return tuple(float(part) / 100 for part in text.split(","))
    except ValueError:
        raise ValueError(f"--splits={text}: must be the percentages of train, valid and test, such as 80,10,10") from None


@dataclasses.dataclass(frozen=True)
class LengthSettings(ImporterSettings):
    """Settings of importers of sounds with a choice of sample rate, length and splits.

    Raises:
      ValueError: a value is out of range, or the splits do not sum to 100 percent.
    """

    sample_rate: int = setting(16000, "Sample rate in Hz.", low=8000, high=48000)
    seconds: float = setting(2.0, "Length in seconds that sounds are cut or padded to; 0 keeps the length of each sound.")
    splits: tuple[float, ...] = setting(
        FRACTIONS, "Percentages of train, valid and test, balanced over classes.", parse=parse_fractions, shown="80,10,10"
    )

    def __post_init__(self):
        fractions = self.splits
        if len(fractions) != len(SPLITS) or min(fractions) < 0 or not fractions[0] or abs(sum(fractions) - 1) > 1e-6:
            shown = ",".join(f"{100 * share:g}" for share in fractions)
            raise ValueError(f"splits={shown}: must be percentages of train, valid and test that sum to 100, such as 80,10,10")
        _ = self.audio_format  # checks rate and length
        super().__post_init__()

    @property
    def audio_format(self) -> AudioFormat:
        """Format of the sounds; `seconds` is the length of an excerpt."""
        return library_format(self.sample_rate, self.seconds, self.seconds)

    def describe_settings(self) -> dict[str, Any]:
        """Returns these settings for the index of a store."""
        return {
            "sample_rate": self.sample_rate, "seconds": self.seconds, "fractions": list(self.splits), "seed": self.seed,
        }  # fmt: skip


def duplicates_setting(default: str) -> Any:
    """Returns a setting that selects which copies of a sound are kept."""
    return setting(
        default, "Copies of a sound to keep: one (even if level, sample rate or leading silence differ), exact (one of those "
        "with equal samples), or all. Copies always stay in one split.", choices=DUPLICATES,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LibrarySettings(LengthSettings):
    """Settings of importers of classified sounds, which may include copies."""

    families: tuple[str, ...] = setting((), "Classes of sounds to use, separated by commas; empty means all.")
    duplicates: str = duplicates_setting("one")

    merge_single_classes: ClassVar[bool] = False
    """True if classes with a single instrument are split together as one class, instead of staying in train."""

    def describe_settings(self) -> dict[str, Any]:
        """Returns these settings for the index of a store."""
        chosen = {"labels": list(self.families), "number": self.number, "duplicates": self.duplicates}
        return {**super().describe_settings(), **chosen}

    def select(self, records: Sequence[Record], *, unlabeled: bool = True) -> list[Record]:
        """Returns the plan, with a reason for every record that is not selected.

        Args:
          records: all sounds.
          unlabeled: whether to keep records without a class.

        Raises:
          ValueError: no record has a class that `families` names.
        """
        known = {record.family for record in records}
        if unknown := sorted(set(self.families) - known):
            raise ValueError(f"--families={unknown[0]}: no sound has this class (the classes are {', '.join(sorted(known))})")
        result = list(records)
        of_class: dict[str, list[int]] = {}
        for position in np.random.default_rng(self.seed).permutation(len(result)).tolist():
            record = result[position]
            if record.left_out:
                continue
            if self.families and record.family not in self.families:
                result[position] = record._replace(split="", left_out="not selected (class)")
            elif not unlabeled and record.family == UNLABELED:
                result[position] = record._replace(split="", left_out="not selected (no class)")
            else:
                of_class.setdefault(record.family, []).append(position)
        ranked = sorted((rank, position) for positions in of_class.values() for rank, position in enumerate(positions))
        for _, position in ranked[self.number :] if self.number else ():
            result[position] = result[position]._replace(split="", left_out="not selected (beyond --number)")
        return result

    def shared_keys(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Hashable, ...]]:
        """Returns keys of each sound; sounds with a common key belong to one instrument."""
        return [()] * len(rows)

    def arrange(self, rows: list[Mapping[str, Any]], read: Callable[[int], np.ndarray]) -> list[SplitAssignment]:
        """Splits sounds, balanced over classes; copies stay in one split.

        An instrument is a group of copies and of sounds with common `shared_keys`. Its name and its class are those of its
        first sound that has a class. Every class keeps one instrument in train, and with three or more instruments every split
        gets one. Implements `ArrangingImporter.arrange`.
        """

        def leader_of(group: Sequence[int]) -> int:  # the first sound with a class, if there is one
            return min(group, key=lambda number: (rows[number]["family"] == UNLABELED, number))

        digests, numbers = [row["digest"] for row in rows], range(len(rows))
        copy_of: dict[int, int] = {}
        for group in group_copies([row["signature"] for row in rows], digests, self.sample_rate, read):
            copy_of.update(dict.fromkeys(group, leader_of(group)))
        related = self.shared_keys(rows)
        members = {number: [("copy", copy_of[number]), *(("related", key) for key in related[number])] for number in numbers}
        instrument, family = [""] * len(rows), {}
        for group in connected_groups(members):
            leader = rows[leader_of(group)]
            name = leader["instrument"] or leader["id"]
            family[name] = leader["family"]
            for number in group:
                instrument[number] = name
        if self.merge_single_classes:
            sizes = Counter(family.values())
            family = {name: own if sizes[own] > 1 else "" for name, own in family.items()}
        split = split_groups(family, fractions=self.splits, seed=self.seed, fill_splits=True)
        kept: dict[Hashable, int] = {}
        left_out = [""] * len(rows)
        for number in sorted(numbers, key=lambda number: (copy_of[number] != number, number)):
            if self.duplicates == "all":
                break
            first = kept.setdefault(digests[number] if self.duplicates == "exact" else copy_of[number], number)
            if first != number:
                how = "the same samples as" if digests[number] == digests[first] else "sounds like"
                left_out[number] = f"duplicate ({how} {rows[first]['id']})"
        classes: dict[int, set[str]] = {}
        for number, leader in copy_of.items():
            classes.setdefault(leader, set()).add(rows[number]["family"])
        return [
            SplitAssignment(
                split[instrument[number]], instrument[number], left_out[number],
                "copies in several classes" if len(classes[copy_of[number]] - {UNLABELED}) > 1 else "",
            )
            for number in numbers
        ]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class OneShotSettings(LibrarySettings):
    """Settings of importers of one-shots: each file or drum hit is a sound."""

    max_seconds: float = setting(40.0, "Length in seconds that longer sounds are cut to if --seconds=0.")
    trim: bool = setting(
        True, "Cut silence before the onset (2 ms before the first sample within 40 dB of the peak) and digital silence at the "
        "end.",
    )  # fmt: skip

    @property
    def audio_format(self) -> AudioFormat:
        """Format of the sounds."""
        return library_format(self.sample_rate, self.seconds, self.max_seconds)

    def describe_settings(self) -> dict[str, Any]:
        """Returns these settings for the index of a store."""
        return {**super().describe_settings(), "max_seconds": 0 if self.seconds else self.max_seconds, "trim": self.trim}

    def apply_trim(self, wave: np.ndarray, rate: int) -> tuple[np.ndarray, float, list[str]]:
        """Returns a wave, trimmed if set, the seconds cut before it, and remarks for the report."""
        wave, before = trim(wave, rate) if self.trim else (wave, 0.0)
        return wave, before, [f"silence before the onset cut ({before:.3f} s)"] if before > 0.005 else []


def trim(wave: np.ndarray, rate: int) -> tuple[np.ndarray, float]:
    """Cuts a wave 2 ms before its onset, and digital silence at its end.

    The onset is the first sample within 40 dB of the peak, so it does not depend on the level.

    Returns:
      The trimmed wave, and the seconds that were cut before it.
    """
    start = max(0, onset(wave) - round(PREROLL_SECONDS * rate))
    audible = np.flatnonzero(np.abs(wave) >= 0.5 / 32768)
    if not len(audible):
        return wave, 0.0
    return wave[start : audible[-1] + 1], start / rate
