"""Large pages of memory: asked for once, by programs that train, where the system has to be asked."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.large_pages import TUNABLE, wanted


@pytest.fixture
def asking(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    return tmp_path / "enabled"


def test_what_is_added(asking):
    assert wanted({}, system=asking) == {"GLIBC_TUNABLES": f"{TUNABLE}=1"}
    others = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}
    assert wanted(others, system=asking) == {"GLIBC_TUNABLES": f"glibc.malloc.arena_max=2:{TUNABLE}=1"}


def test_nothing_is_added_where_nothing_would_change(asking, monkeypatch):
    assert wanted({"GLIBC_TUNABLES": f"{TUNABLE}=0"}, system=asking) == {}
    assert wanted({}, system=asking.parent / "missing") == {}
    for text in ("[always] madvise never\n", "always madvise [never]\n"):
        asking.write_text(text)
        assert wanted({}, system=asking) == {}
    asking.write_text("always [madvise] never\n")
    for libc in (("glibc", "2.31"), ("musl", "1.2"), ("", "")):
        monkeypatch.setattr(platform, "libc_ver", lambda libc=libc: libc)
        assert wanted({}, system=asking) == {}


@pytest.mark.skipif(not wanted({}), reason="this system gives large pages without being asked, or not at all")
def test_a_program_begins_again_once_as_the_same_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\nfrom experiments.large_pages import use_large_pages\n"
        "print('began', os.getpid(), flush=True)\nuse_large_pages()\n"
        "print(os.environ['GLIBC_TUNABLES'], sys.argv[1:], sys.flags.dont_write_bytecode, sys.prefix)\n"
    )
    # Named without its path, as a shell does; another Python may come first on PATH.
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin", "PYTHONPATH": "."}
    command = [Path(sys.executable).name, "-B", str(program), "--a b", "c"]
    shown = subprocess.run(command, env=environment, executable=sys.executable, capture_output=True, text=True, check=True)
    first, second, rest = shown.stdout.splitlines()
    assert first == second
    assert rest == f"{TUNABLE}=1 ['--a b', 'c'] 1 {sys.prefix}"
