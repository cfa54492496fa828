"""Traces of steps, peak memory and compilation time."""

import gzip
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.training.profiling import CompileClock, Memory, Profile, peak_memory, resources_line


def test_trace_contains_requested_steps(tmp_path):
    @jax.jit
    def step(x):
        return jnp.tanh(x @ x)

    profile, x = Profile(tmp_path, first=3, last=5), jnp.ones((64, 64))
    x = step(x)
    for number in range(1, 9):
        with jax.profiler.TraceAnnotation(f"step {number} of mine"):
            x = step(x)
        profile.record_step(x)
    assert (profile.steps_taken, profile.written) == (8, True)
    (file,) = tmp_path.glob("plugins/profile/*/perfetto_trace.json.gz")
    with gzip.open(file) as opened:
        names = {event.get("name", "") for event in json.load(opened)["traceEvents"]}
    assert {name for name in names if name.endswith("of mine")} == {f"step {number} of mine" for number in (3, 4, 5)}
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))


def test_incomplete_trace_is_written(tmp_path):
    profile = Profile(tmp_path, first=2, last=100)
    profile.record_step(jnp.ones(3))
    profile.record_step(jnp.ones(3))
    profile.stop()
    profile.stop()  # a second call has no effect
    assert len(list(tmp_path.glob("plugins/profile/*/perfetto_trace.json.gz"))) == 1


def test_first_step_cannot_be_traced():
    with pytest.raises(ValueError, match=r"traced steps: .* \(got 1 to 5\)"):
        Profile("somewhere", first=1, last=5)


def in_new_process(code: str) -> list[int]:
    """Returns the numbers that code prints in a process whose memory no test has used."""
    return [int(word) for word in subprocess.run([sys.executable, "-c", code], stdout=-1, text=True, check=True).stdout.split()]


def test_peak_memory_does_not_decrease():
    before, during, after = in_new_process(
        "import numpy as np; from timbre_jax.training.profiling import peak_memory as peak; before = peak().process; "
        "held = np.ones(30_000_000); during = peak().process; del held; print(before, during, peak().process)"
    )
    assert during >= before + 200e6  # the array has 240 MB
    assert after >= during


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
def test_peak_memory_is_not_inherited_from_the_parent():
    held = np.ones(100_000_000)  # 800 MB, more than the child needs
    (child,) = in_new_process("from timbre_jax.training.profiling import peak_memory; print(peak_memory().process)")
    assert peak_memory().process > held.nbytes > child > 20e6


def test_compilations_are_counted():
    with CompileClock() as clock:
        jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x))(jnp.ones((17, 17))).block_until_ready()
    programs, seconds = clock.programs, clock.seconds
    assert programs >= 1
    assert 0 < seconds < 60
    jax.jit(lambda x: jnp.cos(x) @ jnp.sin(x))(jnp.ones((17, 17))).block_until_ready()
    assert (clock.programs, clock.seconds) == (programs, seconds)  # outside the context


def test_nested_functions_are_timed_once():
    clock = CompileClock()
    clock._active = True
    time.sleep(0.2)
    clock._duration("/jax/core/compile/jaxpr_trace_duration", 0.05)  # an inner function is reported first
    clock._duration("/jax/core/compile/jaxpr_trace_duration", 0.15)  # the function that contains it
    assert clock.seconds == pytest.approx(0.15)
    clock._duration("/some/other/event", 5.0)
    assert clock.seconds == pytest.approx(0.15)


def test_resources_line_states_memory_and_compilation_time():
    line = resources_line(Memory(2_500_000_000, {"GPU 0": 1_000_000_000}), CompileClock())
    assert re.fullmatch(r"2\.50 GB peak memory, GPU 0 1\.00 GB; 0\.0 s of compilation \(0 programs\)", line)
