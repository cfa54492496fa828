"""Tests of the program that trains: its errors, and runs on a store."""

import json
import re

import pytest

import timbre_jax
from experiments.config_flags import read_config
from tests.helpers.launches import small_notes
from tests.helpers.processes import run
from timbre_jax.training.loop import train_and_evaluate

NATSIOU = "--config=natsiou2023"
SMALL = (
    "--config.train.batch_size=16",
    "--config.train.eval_every=4",
    "--config.train.log_every=2",
    "--noprogress",
    "--platform=cpu",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_notes(tmp_path_factory.mktemp("train") / "store")


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ((), "error: --config: missing; give --config=NAME", 1),
        ((NATSIOU,), "error: --workdir: missing; give --workdir=...", 1),
        (("--config=nothing.py", "--workdir=RUN"), "error: --config=nothing.py: no such file", 2),
        ((NATSIOU, "--workdir=RUN"), "error: config.data.store: empty", 1),
        ((NATSIOU, "--workdri=RUN"), "error: Unknown command line flag 'workdri'", 2),
        (("now",), "error: now: unexpected argument; flags begin with --", 2),
    ],
)
def test_wrong_input_is_a_one_line_error(arguments, message, code, tmp_path):
    arguments = [argument.replace("RUN", str(tmp_path / "run")) for argument in arguments]
    done = run("experiments/train.py", *arguments)
    assert message in done.stderr
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config.data.store=no/such",), "no/such: no such store"),
        (("--config.model.name=gan", "--config.data.store=STORE"), "model 'gan': unknown name"),
    ],
)
def test_configuration_that_cannot_be_trained_is_a_one_line_error(arguments, message, store, tmp_path):
    config = read_config([NATSIOU, *(argument.replace("STORE", str(store)) for argument in arguments)])
    with pytest.raises(ValueError, match=message) as error:
        train_and_evaluate(config, tmp_path / "run", progress=False)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_run_on_a_store_fits_ranges_and_writes_a_trace(store, tmp_path):
    workdir = tmp_path / "run"
    command = ("experiments/train.py", NATSIOU, f"--workdir={workdir}", f"--config.data.store={store}", *SMALL)
    done = run(*command, "--config.train.steps=4", f"--profile={tmp_path / 'trace'}")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Used \d\.\d\d GB peak memory.*; \d+\.\d s of compilation \(\d+ programs", done.stdout, re.MULTILINE)
    assert "No trace in" in done.stdout
    assert f"Next:\n  python experiments/analyze.py --workdir={workdir}" in done.stdout
    done = run(*command, "--config.train.steps=18", f"--profile={tmp_path / 'trace'}")
    assert done.returncode == 0, done.stderr
    assert "The trace of steps 10 to 14 is in" in done.stdout
    assert len(list(tmp_path.glob("trace/plugins/profile/*/perfetto_trace.json.gz"))) == 1
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "train"] == list(range(2, 20, 2))
    assert lines[-1]["loss"] < lines[0]["loss"]
    space = timbre_jax.load(workdir)
    settings = json.loads((workdir / "config.json").read_text())
    assert settings["config"]["representation"]["f0_range"] == [80.0, 2100.0]
    low, high = settings["representation"]["f0_range"]
    assert (low, high) == space.representation.f0_range
    assert 80.0 <= low < high < 2100.0
    assert settings["representation"]["amplitude_range"][1] < 0.0
    assert space.representation.f0_scale == "hz"


@pytest.mark.parametrize("name", ["pca8", "mean_image"])
def test_closed_form_models_are_trained_by_the_same_program(name, store, tmp_path):
    done = run("experiments/train.py", f"--config={name}", f"--workdir={tmp_path}", f"--config.data.store={store}", *SMALL)
    assert done.returncode == 0, done.stderr
    space = timbre_jax.load(tmp_path)
    assert space.latent_size == {"pca8": 8, "mean_image": 1}[name]
    assert space.render(space.statistics["latent_mean"][None]).shape == (1, 64000)
