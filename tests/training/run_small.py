"""Trains a small run in a separate process, which tests stop and kill.

python tests/training/run_small.py WORKDIR STEPS [jit|pmap] [SECONDS BETWEEN CHECKPOINTS]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.processes import join_run
from tests.helpers.runs import small_config, small_sources
from timbre_jax.training.distributed.failures import exit_together
from timbre_jax.training.loop import train_and_evaluate

if __name__ == "__main__":
    join_run()
    workdir, steps, *rest = sys.argv[1:]
    parallel = rest[0] if rest else "jit"
    seconds = float(rest[1]) if len(rest) > 1 else 60.0
    config = small_config(steps=int(steps), checkpoint_seconds=seconds, checkpoint_share=1.0)
    with exit_together():
        result = train_and_evaluate(config, workdir, sources=small_sources(), parallel=parallel, progress=False)
    print(result.status, result.step, flush=True)
    sys.exit(128 + result.signal if result.signal else 0)
