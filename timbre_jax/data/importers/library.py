"""Shared parts of library importers: settings, the form of their sounds, trimming, copies on one side of a split."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from timbre_jax.data.importers.base import SPLITS, Form, Place, Record
from timbre_jax.data.importers.class_rules import UNLABELLED
from timbre_jax.data.importers.duplicates import groups_of_copies, onset
from timbre_jax.data.importers.options import ImporterSettings
from timbre_jax.data.importers.splits import connected_groups, split_groups
from timbre_jax.settings import setting

FRACTIONS = (0.8, 0.1, 0.1)
MIN_SECONDS = 0.002
PREROLL_SECONDS = 0.002
DUPLICATES = ("one", "exact", "all")


def library_form(sample_rate: int, seconds: float, max_seconds: float) -> Form:
    """Sounds of a fixed length in seconds, or, where that is 0, of their own up to `max_seconds`.

    Raises ValueError for numbers that are no lengths or rates.
    """
    for name, value in (("seconds", seconds), ("max_seconds", max_seconds)):
        if not np.isfinite(value) or value < 0 or value > 600:
            raise ValueError(f"{name} {value:g}: 0 to 600 is needed")
    if not seconds and not max_seconds:
        raise ValueError("seconds and max_seconds are both 0: give a fixed length, or a largest one")
    limit = seconds or max_seconds
    if limit < MIN_SECONDS:
        raise ValueError(f"sounds of {limit:g} s: at least {MIN_SECONDS:g} s is needed")
    return Form(sample_rate, round(limit * sample_rate), variable=not seconds, min_seconds=MIN_SECONDS)


def shares(text: str) -> tuple[float, ...]:
    """Reads percents: "80,10,10" is (0.8, 0.1, 0.1). Raises a ValueError for other text."""
    try:
        return tuple(float(part) / 100 for part in text.split(","))
    except ValueError:
        raise ValueError(f"splits {text!r}: percents of train, valid and test are needed, such as 80,10,10") from None


@dataclasses.dataclass(frozen=True)
class LengthSettings(ImporterSettings):
    """Settings of importers whose sounds have any rate, length and splits.

    Raises:
      ValueError: a value outside its limits, or shares that are no split.
    """

    sample_rate: int = setting(16000, "Sample rate in Hz.", low=8000, high=48000)
    seconds: float = setting(2.0, "Length in seconds that sounds are cut or padded to; 0 keeps their own.")
    splits: tuple[float, ...] = setting(
        FRACTIONS, "Percent of train, valid and test, even over classes.", parse=shares, shown="80,10,10"
    )

    def __post_init__(self):
        fractions = self.splits
        if len(fractions) != len(SPLITS) or min(fractions) < 0 or not fractions[0] or abs(sum(fractions) - 1) > 1e-6:
            shown = ",".join(f"{100 * share:g}" for share in fractions)
            raise ValueError(f"splits {shown}: shares of {', '.join(SPLITS)} are needed that make 100, such as 80,10,10")
        _ = self.form  # says what is wrong with rate and length
        super().__post_init__()

    @property
    def form(self) -> Form:
        """Rate and length of the sounds; `seconds` is the length of an excerpt."""
        return library_form(self.sample_rate, self.seconds, self.seconds)

    def described(self) -> dict[str, Any]:
        """Returns these settings for a store's index."""
        return {
            "sample_rate": self.sample_rate, "seconds": self.seconds, "fractions": list(self.splits), "seed": self.seed,
        }  # fmt: skip


def copies(default: str) -> Any:
    """Returns the setting of the copies of a sound that are kept."""
    return setting(
        default, "Keep one of all copies of a sound (the same at another level, rate or place in its file, too), one of those "
        "with the same samples (exact), or all; copies stay in one split.", choices=DUPLICATES,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LibrarySettings(LengthSettings):
    """Settings of importers of sounds with classes, of which some may be copies of others."""

    families: tuple[str, ...] = setting((), "NSynth families, or classes of sounds, to use; none means all.")
    duplicates: str = copies("one")

    pool: ClassVar[bool] = False
    """Whether classes of one instrument, which cannot be divided, are divided among themselves as if they were one class; else
    each of them is all in train."""

    def described(self) -> dict[str, Any]:
        """Returns these settings for a store's index."""
        chosen = {"labels": list(self.families), "number": self.number, "duplicates": self.duplicates}
        return {**super().described(), **chosen}

    def select(self, records: Sequence[Record], *, unlabeled: bool = True) -> list[Record]:
        """Returns the plan, with a reason at every record that is not asked for.

        Args:
          records: all sounds.
          unlabeled: keep records without a class.

        Raises:
          ValueError: a class of `families` that no record has.
        """
        known = {record.family for record in records}
        if unknown := sorted(set(self.families) - known):
            raise ValueError(f"there is no class {unknown[0]!r}; there are {', '.join(sorted(known))}")
        result = list(records)
        piles: dict[str, list[int]] = {}
        for position in np.random.default_rng(self.seed).permutation(len(result)).tolist():
            record = result[position]
            if record.left_out:
                continue
            if self.families and record.family not in self.families:
                result[position] = record._replace(split="", left_out="not asked for (class)")
            elif not unlabeled and record.family == UNLABELLED:
                result[position] = record._replace(split="", left_out="not asked for (no class)")
            else:
                piles.setdefault(record.family, []).append(position)
        ranked = sorted((rank, position) for pile in piles.values() for rank, position in enumerate(pile))
        for _, position in ranked[self.number :] if self.number else ():
            result[position] = result[position]._replace(split="", left_out="not asked for (beyond --number)")
        return result

    def related(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Hashable, ...]]:
        """Returns what each sound shares with others of its instrument besides its copies, such as a recording."""
        return [()] * len(rows)

    def arrange(self, rows: list[Mapping[str, Any]], read: Callable[[int], np.ndarray]) -> list[Place]:
        """Splits sounds, stratified by class, with all copies of a sound on one side: see `ArrangingImporter.arrange`.

        An instrument is a group of copies and of sounds that `related` ties together, named after the first of them that has
        a class, and counted to that class. Every class keeps one instrument in train, and of three or more instruments each
        of the splits gets one.
        """

        def leader_of(group: Sequence[int]) -> int:  # one with a class is worth more than one without, whatever its place
            return min(group, key=lambda number: (rows[number]["family"] == UNLABELLED, number))

        digests, numbers = [row["digest"] for row in rows], range(len(rows))
        copy_of: dict[int, int] = {}
        for group in groups_of_copies([row["mark"] for row in rows], digests, self.sample_rate, read):
            copy_of.update(dict.fromkeys(group, leader_of(group)))
        related = self.related(rows)
        members = {number: [("copy", copy_of[number]), *(("related", key) for key in related[number])] for number in numbers}
        instrument, family = [""] * len(rows), {}
        for group in connected_groups(members):
            leader = rows[leader_of(group)]
            name = leader["instrument"] or leader["id"]
            family[name] = leader["family"]
            for number in group:
                instrument[number] = name
        if self.pool:
            sizes = Counter(family.values())
            family = {name: its if sizes[its] > 1 else "" for name, its in family.items()}
        split = split_groups(family, fractions=self.splits, seed=self.seed, small=True)
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
            Place(
                split[instrument[number]], instrument[number], left_out[number],
                "copies in several classes" if len(classes[copy_of[number]] - {UNLABELLED}) > 1 else "",
            )
            for number in numbers
        ]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class OneShotSettings(LibrarySettings):
    """Settings of importers of one-shots: each file or hit is a sound."""

    max_seconds: float = setting(40.0, "With --seconds=0, the length in seconds that longer sounds are cut to.")
    trim: bool = setting(
        True, "Cut off what lies before the onset (the first sample within 40 dB of the peak, less 2 ms) and digital silence "
        "at the end.",
    )  # fmt: skip

    @property
    def form(self) -> Form:
        """Rate and length of the sounds."""
        return library_form(self.sample_rate, self.seconds, self.max_seconds)

    def described(self) -> dict[str, Any]:
        """Returns these settings for a store's index."""
        return {**super().described(), "max_seconds": 0 if self.seconds else self.max_seconds, "trim": self.trim}

    def trimmed(self, wave: np.ndarray, rate: int) -> tuple[np.ndarray, float, list[str]]:
        """Returns a wave after `trim`, if it is asked for, the seconds cut off before it, and remarks on them."""
        wave, before = trim(wave, rate) if self.trim else (wave, 0.0)
        return wave, before, [f"silence before the onset cut ({before:.3f} s)"] if before > 0.005 else []


def trim(wave: np.ndarray, rate: int) -> tuple[np.ndarray, float]:
    """Cuts off what lies before a wave's onset, but 2 ms, and digital silence at its end.

    The onset is where it first comes within 40 dB of its peak: a rule that does not depend on the level.

    Args:
      wave: [T], at `rate` Hz.

    Returns:
      The rest, and how many seconds were cut off before it.
    """
    start = max(0, onset(wave) - round(PREROLL_SECONDS * rate))
    heard = np.flatnonzero(np.abs(wave) >= 0.5 / 32768)
    if not len(heard):
        return wave, 0.0
    return wave[start : heard[-1] + 1], start / rate
