"""What all commands share: the platform flag, and errors of JAX's runtime as one line."""

from __future__ import annotations

import importlib.util

import pytest

from experiments import command_line
from tests.helpers.processes import run

ASKED = """
import jax, os
from experiments import command_line
command_line.use_platform({!r})
print(jax.config.jax_platforms, os.environ["JAX_PLATFORMS"])
"""


def test_a_platform_counts_though_jax_is_imported_already():
    done = run("-c", ASKED.format("tpu"))
    assert done.stdout.split() == ["tpu", "tpu"], done.stderr
    assert run("-c", ASKED.format(None)).stdout.split() == ["cpu", "cpu"]


def test_a_platform_that_is_not_there_is_one_line(tmp_path):
    config = tmp_path / "config.py"
    config.write_text("from experiments.configs.pca8 import get_config\n")
    if importlib.util.find_spec("jax_cuda12_plugin") or importlib.util.find_spec("jax_cuda13_plugin"):
        pytest.skip("this JAX knows GPUs")
    for platform, message in (("cuda", "JAX has no CUDA plugin installed"), ("metal", "Unable to initialize backend 'metal'")):
        done = run("experiments/train.py", f"--config={config}", f"--workdir={tmp_path / 'run'}", f"--platform={platform}")
        assert done.returncode == 1
        assert message in done.stderr.strip().splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_flags_are_the_fields_of_the_settings():
    text = " ".join(run("experiments/generate.py", "--help").stdout.split())
    spread = text.split("--spread:")[1].split(" --")[0]
    assert "Default: 1.0." in spread
    assert "Default: 0.3." in spread
    assert "Default: sample. One of reconstruct, sample," in text
    assert text.index("--mode=control:") < text.index("--curve:") < text.index("--mode=map:")
    done = run("experiments/generate.py", "--workdir=run", "--out=out", "--mode=average", "--weights=1,1")
    assert done.stderr == "error: --weights is for --mode=arithmetic, not for average\n"


def test_a_full_device_says_what_helps():
    told = command_line._device_message("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.\nMore lines.")
    assert told.startswith("the device's memory is full (RESOURCE_EXHAUSTED: Out of memory")
    assert "\n" not in told
    assert command_line._device_message("Unable to initialize backend 'cuda': no such driver") != ""
    assert command_line._device_message("something of our own") == ""
