"""Small SoundFont 2 banks whose sound can be computed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from timbre_jax.soundfont import parser


def sine_sample(frequency: float = 441.0, *, rate: int = 44100, seconds: float = 1.0, root: int = 69, **more) -> dict:
    """Returns a full-scale sine that loops its second half.

    441 Hz at 44.1 kHz has a period of exactly 100 samples.
    """
    count = round(seconds * rate)
    wave = np.rint(32767 * np.sin(2 * np.pi * frequency * np.arange(count) / rate)).astype("<i2")
    period = round(rate / frequency)
    loop = (count // 2 // period * period, count // period * period)
    return {"name": "sine", "data": wave, "rate": rate, "root": root, "loop": loop, "correction": 0, **more}


def write_soundfont(
    path: Path, *, samples: list[dict], instruments: list[list[dict]], presets: list[dict], version: int = 2
) -> Path:
    """Writes a bank.

    Args:
      path: file to write.
      samples: {"name", "data" int16, "rate", "root", "loop": (start, end) in samples, "correction" in cents, "kind"}.
      instruments: zones of each; a zone is {"sample": index, "modulators": [(source, destination, amount, 0, 0)], and
        generators by number}. A first zone without "sample" is global.
      presets: {"name", "bank", "program", "zones"}; their zones have "instrument" instead of "sample".
      version: major version of the format.
    """
    pool, headers = b"", b""
    for sample in samples:
        start, (first, last) = len(pool) // 2, sample["loop"]
        data = np.asarray(sample["data"], "<i2")
        pool += data.tobytes() + bytes(2 * 46)  # the specification requires 46 zeros after each sample
        headers += struct.pack(
            "<20sIIIIIBbHH", sample["name"].encode(), start, start + len(data), start + first, start + last,
            sample["rate"], sample["root"], sample.get("correction", 0), 0, sample.get("kind", 1),
        )  # fmt: skip
    headers += struct.pack("<20sIIIIIBbHH", b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)

    def zones_of(owners: list[list[dict]], link: str, link_generator: int):
        bags, modulators, generators, starts = [], [], [], []
        for zones in owners:
            starts.append(len(bags))
            for zone in zones:
                bags.append((len(generators), len(modulators)))
                modulators += [struct.pack("<HHhHH", *m) for m in zone.get("modulators", [])]
                numbers = {key: value for key, value in zone.items() if isinstance(key, int)}
                # Ranges must be first and the link last (section 8.1.2).
                for number in sorted(numbers, key=lambda n: (n not in (parser.KEY_RANGE, parser.VELOCITY_RANGE), n)):
                    value = numbers[number]
                    value = value[0] | value[1] << 8 if isinstance(value, tuple) else value & 0xFFFF
                    generators.append(struct.pack("<HH", number, value))
                if link in zone:
                    generators.append(struct.pack("<HH", link_generator, zone[link]))
        starts.append(len(bags))
        bags.append((len(generators), len(modulators)))
        return (
            starts, b"".join(struct.pack("<HH", *bag) for bag in bags), b"".join(modulators) + bytes(10),
            b"".join(generators) + bytes(4),
        )  # fmt: skip

    i_starts, ibag, imod, igen = zones_of(instruments, "sample", parser.SAMPLE)
    p_starts, pbag, pmod, pgen = zones_of([preset["zones"] for preset in presets], "instrument", parser.INSTRUMENT)
    inst = b"".join(struct.pack("<20sH", f"i{n}".encode(), start) for n, start in enumerate(i_starts))
    named = [*presets, {"name": "EOP", "bank": 0, "program": 0}]
    phdr = b"".join(
        struct.pack("<20sHHHIII", p["name"].encode(), p.get("program", 0), p.get("bank", 0), start, 0, 0, 0)
        for p, start in zip(named, p_starts, strict=True)
    )

    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    tables = {b"phdr": phdr, b"pbag": pbag, b"pmod": pmod, b"pgen": pgen, b"inst": inst, b"ibag": ibag, b"imod": imod}
    tables |= {b"igen": igen, b"shdr": headers}
    body = b"sfbk"
    body += chunk(b"LIST", b"INFO" + chunk(b"ifil", struct.pack("<HH", version, 1)) + chunk(b"INAM", b"test\0\0"))
    body += chunk(b"LIST", b"sdta" + chunk(b"smpl", pool))
    body += chunk(b"LIST", b"pdta" + b"".join(chunk(name, table) for name, table in tables.items()))
    path.write_bytes(chunk(b"RIFF", body))
    return path


def one_preset(path: Path, *, sample: dict | None = None, preset: dict | None = None, **zone) -> Path:
    """Writes a bank with one preset and one looped sample; g54=1 sets generator 54."""
    generators = {int(name[1:]): value for name, value in zone.items() if name[0] == "g"}
    body = {parser.SAMPLE_MODES: 1, **generators, "sample": 0, "modulators": zone.get("modulators", [])}
    return write_soundfont(
        path,
        samples=[sample or sine_sample()],
        instruments=[[body]],
        presets=[{"name": "Tone", "zones": [{"instrument": 0, **(preset or {})}]}],
    )
