"""Programs of timbre_jax, their configurations, studies and benchmarks."""

import importlib.util
import sys

if missing := [name for name in ("absl", "jax") if importlib.util.find_spec(name) is None]:
    sys.exit(
        f"error: {sys.executable} has no {missing[0]}; activate the environment that launch/quickstart creates: "
        ". .venv/bin/activate"
    )
