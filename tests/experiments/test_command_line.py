"""Tests of the command line that all programs share."""

from __future__ import annotations

import importlib.util

import pytest

from experiments import command_line
from tests.helpers.processes import run

PRINT_PLATFORM = """
import jax, os
from experiments import command_line
command_line.use_platform({!r})
print(jax.config.jax_platforms, os.environ["JAX_PLATFORMS"])
"""


def test_platform_applies_after_jax_is_imported():
    done = run("-c", PRINT_PLATFORM.format("tpu"))
    assert done.stdout.split() == ["tpu", "tpu"], done.stderr
    assert run("-c", PRINT_PLATFORM.format(None)).stdout.split() == ["cpu", "cpu"]


def test_missing_packages_are_a_one_line_error():
    for program in ("experiments/prepare.py", "experiments/sweep.py", "experiments/train.py", "launch/submit.py"):
        done = run("-S", program, "--help", PYTHONPATH="")  # without site-packages, as outside the environment
        assert done.returncode == 1
        assert done.stderr.endswith("activate the environment that launch/quickstart creates: . .venv/bin/activate\n")
        assert done.stderr.count("\n") == 1


def test_missing_platform_is_a_one_line_error(tmp_path):
    config = tmp_path / "config.py"
    config.write_text("from experiments.configs.pca8 import get_config\n")
    if importlib.util.find_spec("jax_cuda12_plugin") or importlib.util.find_spec("jax_cuda13_plugin"):
        pytest.skip("JAX has a CUDA plugin here")
    for platform, message in (("cuda", "JAX has no CUDA plugin installed"), ("metal", "Unable to initialize backend 'metal'")):
        done = run("experiments/train.py", f"--config={config}", f"--workdir={tmp_path / 'run'}", f"--platform={platform}")
        assert done.returncode == 1
        assert message in done.stderr.strip().splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_help_groups_flags_and_states_the_default_of_each_mode():
    text = " ".join(run("experiments/generate.py", "--help").stdout.split())
    spread = text.split("--spread:")[1].split(" --")[0]
    assert "Default: 1.0." in spread
    assert "Default: 0.3." in spread
    assert "sample (random sounds), interpolate (sounds between two files)" in text
    assert "Default: sample." in text
    assert text.index("--mode=control:") < text.index("--curve:") < text.index("--mode=map:")
    done = run("experiments/generate.py", "--workdir=run", "--out=out", "--mode=average", "--weights=1,1")
    assert done.stderr == "error: --weights: only for --mode=arithmetic (got --mode=average)\n"


def test_next_commands_are_quoted_for_the_shell(capsys):
    command_line.print_written("a", "b", next=[("experiments/map.py", "--out=my map")])
    assert capsys.readouterr().out == "Wrote a\nWrote b\nNext:\n  python experiments/map.py '--out=my map'\n"


def test_full_device_memory_is_one_line_with_a_remedy():
    message = command_line._device_message("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.\nMore lines.")
    assert message.startswith("the device is out of memory (RESOURCE_EXHAUSTED: Out of memory")
    assert "\n" not in message
    assert command_line._device_message("Unable to initialize backend 'cuda': no such driver") != ""
    assert command_line._device_message("an error of this library") == ""
