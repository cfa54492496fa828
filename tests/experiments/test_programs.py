"""Every program runs from a clone, by its path and as a module, where timbre_jax is installed and `experiments` is not."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path.relative_to(ROOT)
    for folder in ("experiments", "experiments/studies", "launch")
    for path in (ROOT / folder).glob("*.py")
    if "\n    command_line.run(" in path.read_text()
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Environment in which timbre_jax and its requirements can be imported, `experiments` and JAX cannot."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "timbre_jax").symlink_to(ROOT / "timbre_jax")
    (folder / "jax.py").write_text("raise ImportError('--help must not wait for JAX')\n")
    paths = (folder, sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}


def helped(program, *command, cwd, env) -> None:
    # -S: packages that were installed as links to their clones, as this one may be, are not found.
    done = subprocess.run(
        [sys.executable, "-S", *command, "--help"], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    documentation = program.read_text().split('"""')[1].splitlines()[0]
    assert documentation in done.stdout
    assert done.returncode == 1  # absl's code of --help


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_by_its_path_from_any_folder(program, installed, tmp_path):
    helped(ROOT / program, str(ROOT / program), cwd=tmp_path, env=installed)


@pytest.mark.parametrize("program", [path for path in PROGRAMS if path.parts[0] != "launch"], ids=str)
def test_as_a_module_from_the_clone(program, installed):
    helped(ROOT / program, "-m", ".".join(program.with_suffix("").parts), cwd=ROOT, env=installed)
