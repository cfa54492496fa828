import json
import math

import numpy as np
import pytest

from timbre_jax.training.rollback import DivergenceDetector


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nonfinite_values_are_bad_at_every_step(bad):
    assert "loss is" in DivergenceDetector().check(bad, 1.0)
    assert "gradient norm is" in DivergenceDetector().check(1.0, bad)


@pytest.mark.parametrize("level", [1500.0, 0.0, -8000.0])
def test_outliers_are_bad_and_noise_is_good(level):
    """Uses losses above, around and below 0, as of likelihoods."""
    detector, rng = DivergenceDetector(factor=3.0), np.random.default_rng(0)
    noise = 0.05 * abs(level) + 1.0
    for loss in level + noise * rng.uniform(-1, 1, 500):
        assert detector.check(float(loss), 1.0) is None
    limit = detector.average + 3.0 * max(abs(detector.average), detector.deviation)
    assert "above the limit" in detector.check(limit + 1.0, 1.0)
    assert detector.check(limit - 1e-3, 1.0) is None


def test_decreasing_loss_is_good():
    detector = DivergenceDetector()
    assert all(detector.check(2000.0 * math.exp(-step / 50) + 100, 1.0) is None for step in range(500))


def test_losses_are_compared_only_after_warmup():
    detector = DivergenceDetector(warmup_steps=5)
    assert all(detector.check(10.0**step, 1.0) is None for step in range(5))
    assert detector.check(1e9, 1.0)


def test_bad_steps_do_not_change_state_and_state_is_json():
    detector = DivergenceDetector(warmup_steps=2)
    for loss in (5.0, 6.0, 5.5, 0.1):
        detector.check(loss, 1.0)
    memory = json.loads(json.dumps(detector.state()))
    assert detector.check(1e6, 1.0)
    assert detector.state() == memory
    other = DivergenceDetector(warmup_steps=2)
    other.restore(memory)
    assert other.check(7.0, 1.0) == detector.check(7.0, 1.0)
    assert other.state() == detector.state()
