"""Tests of the --config flag."""

import pytest

from experiments import config_flags
from tests.helpers.processes import run


def test_configurations_are_found_by_name():
    named = config_flags.named_configs(["train", "--config=natsiou2023:x", "--config", "pca8", "--config=mine/pca8.py", "pca8"])
    folder = config_flags.CONFIGS
    assert named == [
        "train", f"--config={folder}/natsiou2023.py:x", "--config", f"{folder}/pca8.py", "--config=mine/pca8.py", "pca8",
    ]  # fmt: skip
    done = run("experiments/train.py", "--config=natsiou203", "--workdir=x")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: --config=natsiou203: no such configuration in experiments/")
    assert "natsiou2023" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=natsiou2023", "--config.seed.x=3"], "config.seed has no fields of its own"),
        (["--config=natsiou2023", "--config.train.steps=abc"], r"config.train.steps=abc: invalid literal for int\(\)"),
        (["--config=natsiou2023", "--config.train.batchsize=3"], "similar: config.train.batch_size"),
        (["--config.train.steps=3"], "give --config=NAME before it"),
        (["--config=rebnord2022:large"], "^--config=rebnord2022:large: no such variant; the variants are 8_dim"),
    ],
)
def test_wrong_field_or_value_is_a_one_line_error(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        config_flags.read_config(arguments)
    assert "\n" not in str(error.value)
