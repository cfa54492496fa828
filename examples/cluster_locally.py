"""Runs a sweep with the cluster launcher, on this machine.

    python examples/cluster_locally.py --out=sweep

`launch/submit.py` starts the same plan on a Slurm cluster: only --cluster=slurm and its resources are added. So a sweep can be
tried here before it takes nodes.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import timbre_jax

SUBMIT = Path(__file__).resolve().parents[1] / "launch" / "submit.py"


def submit(*arguments: str) -> str:
    """Runs launch/submit.py and returns what it prints."""
    print("$ python launch/submit.py", *arguments)
    done = subprocess.run([sys.executable, str(SUBMIT), *arguments], capture_output=True, text=True, check=False)
    print(done.stdout)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def main(out: Path, *, store: Path | None = None, sizes: tuple[int, ...] = (2, 4, 8)) -> dict[str, str]:
    notes = store or timbre_jax.prepare(source="soundfont", number=600, out=str(out / "notes")).path
    out.mkdir(parents=True, exist_ok=True)

    # 1. The grid: one run for every combination of the values.
    grid = out / "grid.json"
    grid.write_text(json.dumps({"model.latent_size": list(sizes)}))

    # 2. The batch script and the sbatch command for Slurm, printed and not submitted.
    plan = ("--config=pca8", f"--grid={grid}")
    data = ("--", f"--config.data.store={notes}")
    script = submit(*plan, f"--workdir={out / 'on_slurm'}", "--cluster=slurm", "--time=10", "--dry_run", *data)

    # 3. The same here. Give the command again, or --action=resume, to continue a plan that was stopped.
    submit(*plan, f"--workdir={out / 'here'}", *data)
    status = submit("--action=status", f"--workdir={out / 'here'}")
    table = submit("--action=table", f"--workdir={out / 'here'}")
    return {"script": script, "status": status, "table": table}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("sweep"), help="folder for the store and the runs")
    main(parser.parse_args().out)
