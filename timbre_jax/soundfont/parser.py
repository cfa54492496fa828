"""Reads SoundFont 2 banks: samples, instruments and presets.

Source: SoundFont Technical Specification 2.04 (E-mu/Creative 2006), sections 5-8. The player is in `player.py`. Host code
(numpy) without JAX, so that rendering processes start quickly.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np


class SoundFontError(ValueError):
    """Error of a bank that cannot be played; the message is one line."""


# Generator numbers (section 8.1.2) that the player uses.
START_OFFSET, END_OFFSET, LOOP_START_OFFSET, LOOP_END_OFFSET, START_COARSE = 0, 1, 2, 3, 4
MOD_LFO_TO_PITCH, VIBRATO_TO_PITCH, MOD_ENV_TO_PITCH = 5, 6, 7
FILTER_CUTOFF, FILTER_Q, MOD_LFO_TO_FILTER, MOD_ENV_TO_FILTER, END_COARSE, MOD_LFO_TO_VOLUME = 8, 9, 10, 11, 12, 13
PAN, MOD_LFO_DELAY, MOD_LFO_FREQUENCY, VIBRATO_DELAY, VIBRATO_FREQUENCY = 17, 21, 22, 23, 24
MOD_ENV, VOLUME_ENV = 25, 33  # delay; then attack, hold, decay, sustain, release, key to hold, key to decay
INSTRUMENT, KEY_RANGE, VELOCITY_RANGE, LOOP_START_COARSE, KEY, VELOCITY = 41, 43, 44, 45, 46, 47
ATTENUATION, LOOP_END_COARSE, COARSE_TUNE, FINE_TUNE, SAMPLE, SAMPLE_MODES = 48, 50, 51, 52, 53, 54
SCALE_TUNING, ROOT_KEY = 56, 58
N_GENERATORS = 61

_DEFAULTS = np.zeros(N_GENERATORS, np.int32)
_DEFAULTS[[MOD_LFO_DELAY, VIBRATO_DELAY]] = -12000
for _first in (MOD_ENV, VOLUME_ENV):
    _DEFAULTS[[_first, _first + 1, _first + 2, _first + 3, _first + 5]] = -12000
_DEFAULTS[FILTER_CUTOFF] = 13500
_DEFAULTS[[KEY, VELOCITY, ROOT_KEY]] = -1
_DEFAULTS[SCALE_TUNING] = 100
_UNSIGNED = (SAMPLE, INSTRUMENT, KEY_RANGE, VELOCITY_RANGE)
# Section 8.1.2: these are ignored in presets.
_INSTRUMENT_ONLY = (
    *range(START_OFFSET, START_COARSE + 1), END_COARSE, LOOP_START_COARSE, KEY, VELOCITY, LOOP_END_COARSE,
    SAMPLE_MODES, ROOT_KEY, 57, INSTRUMENT, SAMPLE, KEY_RANGE, VELOCITY_RANGE,
)  # fmt: skip


class Modulator(NamedTuple):
    """Modulator that adds amount * f(source) * f(amount_source) to a generator (section 8.2)."""

    source: int
    destination: int
    amount: int
    amount_source: int
    transform: int

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """Fields that identify a modulator: of two with equal fields, one replaces the other."""
        return self.source, self.destination, self.amount_source, self.transform


# The default modulator (section 8.4) that acts on notes with all controllers at rest: velocity to attenuation. The one from
# velocity to filter cutoff (8.4.2) is omitted as in FluidSynth, since banks are tuned by ear with such players; modulators of
# the bank are applied.
DEFAULT_MODULATORS = (Modulator(0x0502, ATTENUATION, 960, 0, 0),)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Recorded sound of a bank; positions are samples in the bank's pool."""

    name: str
    start: int
    end: int
    loop_start: int
    loop_end: int
    rate: int
    root_key: int
    correction: int  # cents
    link: int
    kind: int


@dataclasses.dataclass(frozen=True)
class Zone:
    """Settings of a preset or instrument for a range of keys and velocities."""

    generators: Mapping[int, int]
    modulators: tuple[Modulator, ...]
    target: int  # index of the instrument in a preset, or of the sample in an instrument

    def includes(self, key: int, velocity: int) -> bool:
        """Returns whether a key and velocity are in the range of the zone."""
        for generator, value in ((KEY_RANGE, key), (VELOCITY_RANGE, velocity)):
            span = self.generators.get(generator)
            if span is not None and not (span & 0xFF) <= value <= (span >> 8):
                return False
        return True


@dataclasses.dataclass(frozen=True)
class Preset:
    """Preset of a bank: its name, MIDI bank and program numbers, and zones."""

    name: str
    bank: int
    program: int
    zones: tuple[Zone, ...]


@dataclasses.dataclass(frozen=True)
class Voice:
    """Sample played by a note of a preset, with summed generators and resolved modulators."""

    sample: Sample
    generators: np.ndarray  # [61] int32
    modulators: tuple[Modulator, ...]


@dataclasses.dataclass(frozen=True)
class SoundFont:
    """SoundFont 2 bank; its sample pool `pool`, [S] int16, is memory-mapped."""

    path: str
    name: str
    pool: np.ndarray
    samples: tuple[Sample, ...]
    instruments: tuple[tuple[Zone, ...], ...]
    presets: tuple[Preset, ...]

    def voices(self, preset: Preset, key: int, velocity: int) -> Iterator[Voice]:
        """Yields the voices of a key and velocity: instrument plus preset values (section 9.4)."""
        for outer in preset.zones:
            if not outer.includes(key, velocity):
                continue
            for inner in self.instruments[outer.target]:
                if not inner.includes(key, velocity):
                    continue
                generators = _DEFAULTS.copy()
                for number, value in inner.generators.items():
                    generators[number] = value
                for number, value in outer.generators.items():
                    if number not in _INSTRUMENT_ONLY:
                        generators[number] += value
                modulators = _merge_modulators(DEFAULT_MODULATORS, inner.modulators) + outer.modulators
                yield Voice(self.samples[inner.target], generators, modulators)

    def preset_samples(self, preset: Preset) -> frozenset[int]:
        """Returns the indices of the raw samples that a preset plays for any key and velocity."""
        return frozenset(inner.target for outer in preset.zones for inner in self.instruments[outer.target])

    def sample_digest(self, index: int) -> str:
        """Returns a digest of a sample's audio, equal for equal audio in any bank."""
        sample = self.samples[index]
        return hashlib.sha256(self.pool[sample.start : sample.end].tobytes()).hexdigest()[:24]


def _merge_modulators(old: tuple[Modulator, ...], new: tuple[Modulator, ...]) -> tuple[Modulator, ...]:
    """Returns modulators in which those of a zone replace identical ones."""
    replaced = {modulator.identity for modulator in new}
    return tuple(m for m in old if m.identity not in replaced) + new


def _text(raw: bytes) -> str:
    """Returns the text of a fixed-length field."""
    return raw.split(b"\0", 1)[0].decode("latin-1").strip()


def _chunks(data: bytes, offset: int, end: int, path: str) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, offset and size of the RIFF chunks of a file."""
    while offset + 8 <= end:
        name, size = data[offset : offset + 4], int.from_bytes(data[offset + 4 : offset + 8], "little")
        if offset + 8 + size > end:
            raise SoundFontError(
                f"{path}: damaged or cut short (chunk {name.decode('latin-1')!r} ends beyond the file); copy it again"
            )
        yield name, offset + 8, size
        offset += 8 + size + size % 2


_RECORDS = {
    b"phdr": "<20sHHHIII", b"pbag": "<HH", b"pmod": "<HHhHH", b"pgen": "<HH", b"inst": "<20sH", b"ibag": "<HH",
    b"imod": "<HHhHH", b"igen": "<HH", b"shdr": "<20sIIIIIBbHH",
}  # fmt: skip


def read_soundfont(path: str | os.PathLike) -> SoundFont:
    """Reads a SoundFont 2 bank. Only the upper 16 bits of 24-bit banks are used.

    Raises:
      SoundFontError: the file is not a SoundFont 2 bank, is damaged, has no presets, or is an SF3 bank (compressed samples).
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise SoundFontError(f"{path}: {'is a folder; give the .sf2 file' if os.path.isdir(path) else 'no such file'}")
    if os.path.getsize(path) < 12:
        raise SoundFontError(f"{path}: not a SoundFont 2 bank (too short)")
    data = np.memmap(path, np.uint8, "r")
    head = bytes(data[:12])
    if head[:4] != b"RIFF" or head[8:12] != b"sfbk":
        raise SoundFontError(f"{path}: not a SoundFont 2 bank (does not start with RIFF....sfbk)")
    chunks, version, name = {}, 2, os.path.splitext(os.path.basename(path))[0]
    view = _Bytes(data)
    for kind, offset, size in _chunks(view, 12, len(data), path):
        if kind == b"LIST":
            for inner, start, length in _chunks(view, offset + 4, offset + size, path):
                chunks[inner] = (start, length)
    if b"ifil" in chunks:
        version = int.from_bytes(view[chunks[b"ifil"][0] : chunks[b"ifil"][0] + 2], "little")
    missing = [kind.decode() for kind in (b"smpl", *_RECORDS) if kind not in chunks]
    if missing:
        raise SoundFontError(f"{path}: damaged SoundFont bank (no chunk {', '.join(missing)})")
    tables = {}
    for kind, layout in _RECORDS.items():
        offset, size = chunks[kind]
        if size % struct.calcsize(layout) or not size:
            raise SoundFontError(f"{path}: damaged SoundFont bank (chunk {kind.decode()!r} has a wrong length of {size})")
        tables[kind] = list(struct.iter_unpack(layout, view[offset : offset + size]))
    compressed = any(row[9] & 0x10 for row in tables[b"shdr"][:-1])
    if compressed or version >= 3:
        raise SoundFontError(
            f"{path}: wrong format (got SF3 with Ogg Vorbis samples, expected SoundFont 2); convert it, for instance with "
            "`sf3convert -x in.sf3 out.sf2` or Polyphone"
        )
    offset, size = chunks[b"smpl"]
    pool = data[offset : offset + size // 2 * 2].view("<i2")
    try:
        return _build_bank(path, name, pool, tables)
    except (IndexError, KeyError) as error:
        raise SoundFontError(f"{path}: damaged SoundFont bank (invalid reference: {error})") from None


class _Bytes:
    """Memory map whose slices are bytes."""

    def __init__(self, data: np.ndarray):
        self._data = data

    def __getitem__(self, where: slice) -> bytes:
        return self._data[where].tobytes()


def _build_bank(path: str, name: str, pool: np.ndarray, tables: dict) -> SoundFont:
    """Builds a bank from parsed tables."""
    samples = tuple(
        Sample(_text(row[0]), *row[1:6], root_key=row[6], correction=row[7], link=row[8], kind=row[9])
        for row in tables[b"shdr"][:-1]
    )
    instruments = tuple(
        _zones(row[1], following[1], tables[b"ibag"], tables[b"igen"], tables[b"imod"], SAMPLE)
        for row, following in zip(tables[b"inst"][:-1], tables[b"inst"][1:], strict=True)
    )
    for zones in instruments:
        for zone in zones:
            sample = samples[zone.target]
            if sample.kind & 0x8000:
                raise SoundFontError(f"{path}: sample {sample.name!r} is in the ROM of a sound card, not in the file")
            if not sample.start < sample.end <= len(pool) or not sample.rate:
                raise SoundFontError(f"{path}: damaged or cut short (sample {sample.name!r} is outside the sample pool)")
    presets = [
        Preset(
            _text(row[0]), row[2], row[1],
            _zones(row[3], following[3], tables[b"pbag"], tables[b"pgen"], tables[b"pmod"], INSTRUMENT),
        )
        for row, following in zip(tables[b"phdr"][:-1], tables[b"phdr"][1:], strict=True)
    ]  # fmt: skip
    for preset in presets:
        for zone in preset.zones:
            instruments[zone.target]
    if not presets:
        raise SoundFontError(f"{path}: the bank has no presets")
    return SoundFont(path, name, pool, samples, instruments, tuple(sorted(presets, key=lambda p: (p.bank, p.program))))


def _zones(first: int, last: int, bags: list, generators: list, modulators: list, link: int) -> tuple[Zone, ...]:
    """Returns the zones of bags first..last (section 7.3).

    A first zone without a link is global and merged into the others.
    """
    zones, common, common_modulators = [], {}, ()
    for number in range(first, last):
        (g0, m0), (g1, m1) = bags[number], bags[number + 1]
        values: dict[int, int] = {}
        for operator, amount in generators[g0:g1]:
            if operator < N_GENERATORS:
                values[operator] = amount if operator in _UNSIGNED or amount < 0x8000 else amount - 0x10000
        own = tuple(Modulator(*row) for row in modulators[m0:m1])
        if link in values:
            target = values.pop(link)
            zones.append(Zone({**common, **values}, _merge_modulators(common_modulators, own), target))
        elif number == first:
            common, common_modulators = values, own
    return tuple(zones)
