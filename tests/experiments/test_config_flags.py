"""The --config flag: names, files and their errors."""

from experiments import config_flags
from tests.helpers.processes import run


def test_a_configuration_is_named_without_its_path():
    named = config_flags.named_configs(["train", "--config=natsiou2023:x", "--config", "pca8", "--config=mine/pca8.py", "pca8"])
    folder = config_flags.CONFIGS
    assert named == [
        "train", f"--config={folder}/natsiou2023.py:x", "--config", f"{folder}/pca8.py", "--config=mine/pca8.py", "pca8",
    ]  # fmt: skip
    done = run("experiments/train.py", "--config=natsiou203", "--workdir=x")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: --config=natsiou203: no such configuration in experiments/")
    assert "natsiou2023" in done.stderr
