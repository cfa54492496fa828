"""Tests of settings dataclasses: limits of fields, and flags from fields."""

from __future__ import annotations

import dataclasses

import pytest
from absl import flags

from experiments import command_line
from timbre_jax.settings import Settings, field_types, setting


@dataclasses.dataclass(frozen=True)
class Sweep(Settings):
    latent: int = setting(0, "Index of the latent.", low=0)
    steps: int = setting(9, "Number of sounds.", low=2)
    spread: float | None = setting(None, "Factor.", low=0.0)
    keys: tuple[int, ...] = setting((60,), "Keys.", parse=lambda text: tuple(map(int, text.split("+"))))
    files: tuple[str, ...] = setting((), "Files.")
    kind: str = setting("line", "Shape.", choices=("line", "arc"))
    loop: bool = setting(False, "Whether to loop.")


@dataclasses.dataclass(frozen=True)
class Other(Settings):
    name: str = setting(help="A name.")
    steps: int = setting(5, "Steps of the other.", low=2)


KINDS = {"sweep": Sweep, "other": Other}


@pytest.fixture
def parsed(monkeypatch):
    def parse(*arguments):
        values = flags.FlagValues()
        monkeypatch.setattr(flags, "FLAGS", values)
        for define in ("string", "bool", "list", "integer", "float", "enum"):
            original = getattr(flags, f"DEFINE_{define}")
            monkeypatch.setattr(flags, f"DEFINE_{define}", lambda *a, _f=original, **k: _f(*a, flag_values=values, **k))
        command_line.define_choice("mode", KINDS, default="sweep", help="Mode.")
        values(["program", *arguments])
        return values

    return parse


@pytest.mark.parametrize(
    ("values", "message"),
    [({"steps": 1}, "steps=1: must be at least 2"), ({"kind": "x"}, "kind=x: must be one of line, arc"),
     ({"spread": float("nan")}, "spread=nan: must be a finite number")],
)  # fmt: skip
def test_values_outside_limits_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Sweep(**values)


def test_field_types_omit_none_and_type_arguments():
    assert field_types(Sweep) == {
        "latent": int, "steps": int, "spread": float, "keys": tuple, "files": tuple, "kind": str, "loop": bool,
    }  # fmt: skip


def test_only_given_flags_change_defaults(parsed):
    values = parsed("--latent=3", "--keys=1+2", "--files=a,b", "--loop", "--spread=0.5")
    assert command_line.settings(Sweep) == Sweep(3, 9, 0.5, (1, 2), ("a", "b"), "line", True)
    assert "Default: 9." in values["steps"].help
    assert "other: Steps of the other." in values["steps"].help
    with pytest.raises(ValueError, match="give --name="):
        command_line.settings(Other)


def test_flag_of_another_kind_is_refused(parsed):
    parsed("--name=x")
    with pytest.raises(ValueError, match="--name: only for --mode=other \\(got --mode=sweep\\)"):
        command_line.chosen_settings("mode", KINDS)
