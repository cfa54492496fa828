"""Tests of large memory pages."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.large_pages import TUNABLE, missing_variables


@pytest.fixture
def madvise(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    return tmp_path / "enabled"


def test_tunable_is_appended_to_other_tunables(madvise):
    assert missing_variables({}, system=madvise) == {"GLIBC_TUNABLES": f"{TUNABLE}=1"}
    others = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}
    assert missing_variables(others, system=madvise) == {"GLIBC_TUNABLES": f"glibc.malloc.arena_max=2:{TUNABLE}=1"}


def test_no_variable_is_set_if_it_would_have_no_effect(madvise, monkeypatch):
    assert missing_variables({"GLIBC_TUNABLES": f"{TUNABLE}=0"}, system=madvise) == {}
    assert missing_variables({}, system=madvise.parent / "missing") == {}
    for text in ("[always] madvise never\n", "always madvise [never]\n"):
        madvise.write_text(text)
        assert missing_variables({}, system=madvise) == {}
    madvise.write_text("always [madvise] never\n")
    for libc in (("glibc", "2.31"), ("musl", "1.2"), ("", "")):
        monkeypatch.setattr(platform, "libc_ver", lambda libc=libc: libc)
        assert missing_variables({}, system=madvise) == {}


@pytest.mark.skipif(not missing_variables({}), reason="this system gives large pages to all programs or to none")
def test_program_restarts_once_as_the_same_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\nfrom experiments.large_pages import use_large_pages\n"
        "print('started', os.getpid(), flush=True)\nuse_large_pages()\n"
        "print(os.environ['GLIBC_TUNABLES'], sys.argv[1:], sys.flags.dont_write_bytecode, sys.prefix)\n"
    )
    # Started by its name only, as in a shell; PATH may name another Python first.
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin", "PYTHONPATH": "."}
    command = [Path(sys.executable).name, "-B", str(program), "--a b", "c"]
    shown = subprocess.run(command, env=environment, executable=sys.executable, capture_output=True, text=True, check=True)
    first, second, rest = shown.stdout.splitlines()
    assert first == second
    assert rest == f"{TUNABLE}=1 ['--a b', 'c'] 1 {sys.prefix}"
