"""Tests of invariance probes on planted targets, noise and a store of known tones."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.helpers.notes import ListedSource
from tests.helpers.sounds import harmonic_tone
from timbre_jax.analysis.invariance import LatentFrames, latent_frames, measure_invariance
from timbre_jax.analysis.probe import ProbeSettings, probe, probe_label, r2_interval
from timbre_jax.data.importers.base import Form, Loaded
from timbre_jax.data.prepare.build import build_store
from timbre_jax.models import make_model
from timbre_jax.representations import LogMel
from timbre_jax.space import TimbreSpace

QUICK = ProbeSettings(steps=300, batch=256, learning_rate=1e-2, resamples=100)


def frames(count=8, each=300, size=6, seed=0, apart=0.5):
    """Returns latents whose mean differs by recording, the recordings, and a generator."""
    generator = np.random.default_rng(seed)
    recordings = np.repeat(np.arange(count), each)
    places = generator.normal(size=(count, size)) * apart
    return generator.normal(size=(count * each, size)) + places[recordings], recordings, generator


def test_probe_predicts_a_nonlinear_target():
    values, recordings, generator = frames()
    loudness = -40 + 12 * np.tanh(values[:, 0] - values[:, 1]) + 6 * np.square(values[:, 2])
    loudness += generator.normal(size=len(values)) * loudness.std() * 0.5  # a fifth of the variance
    result = probe(values, loudness, recordings, settings=QUICK)
    assert 0.68 < result.r2.value < 0.82
    assert result.r2.low < result.r2.value < result.r2.high
    assert result.r2.groups == 8
    assert result.frames == len(values)
    spread = np.square(loudness - loudness.mean()).sum()
    assert result.r2.value == pytest.approx(1 - np.square(result.predictions - loudness).sum() / spread)


def test_probe_scores_zero_for_noise_and_for_targets_constant_within_recordings():
    # A target that is constant within a recording could be memorized from the means of the recordings.
    values, recordings, generator = frames(count=12)
    noise = generator.normal(size=len(values))
    assert probe(values, noise, recordings, settings=QUICK).r2.value < 0.05
    values, recordings, generator = frames(count=12, apart=3.0)
    own = generator.normal(size=12)[recordings] + 0.1 * noise
    assert probe(values, own, recordings, settings=QUICK).r2.value < 0.2
    assert probe(values, own, np.arange(len(values)), settings=QUICK).r2.value > 0.6


def test_probe_scores_judged_frames_with_finite_targets_only():
    values, recordings, _ = frames()
    target = values[:, 0].copy()
    target[5:40] = np.nan
    scored = recordings < 3
    result = probe(values, target, recordings, scored=scored, settings=QUICK)
    assert result.r2.groups == 3
    assert result.r2.value > 0.97
    np.testing.assert_array_equal(np.isfinite(result.predictions), scored & np.isfinite(target))
    with pytest.raises(ValueError, match="at least 2 with scored frames \\(got 1\\)"):
        probe(values, target, recordings, scored=recordings == 3, settings=QUICK)
    with pytest.raises(ValueError, match="needs latents"):
        probe(values, target[:-1], recordings, settings=QUICK)


def test_label_probe_is_at_chance_without_and_accurate_with_information():
    values, recordings, generator = frames(count=12)
    words = np.where(recordings % 3 == 0, "bow", np.where(recordings % 3 == 1, "pluck", "hammer"))
    rate, number = probe_label(values, words, recordings, settings=QUICK)
    assert (number, rate.groups) == (3, 12)
    assert rate.low < 0.45  # chance is a third
    # One latent determines the label; the labels have unequal frequencies.
    informative = values.copy()
    informative[:, 2] = generator.normal(size=len(values)) * 0.3 + np.where(
        words == "bow", 2.0, np.where(words == "pluck", 0.0, -2.0)
    )
    rate, _ = probe_label(informative, words, recordings, settings=QUICK)
    assert rate.value > 0.97
    assert rate.low <= rate.value <= rate.high
    with pytest.raises(ValueError, match="two labels with at least 2 scored recordings"):
        probe_label(values, np.where(recordings == 0, "bow", "pluck"), recordings, settings=QUICK)
    count = len(informative)
    frames_with_labels = LatentFrames(
        informative, np.full(count, -20.0), np.full(count, np.nan), recordings, np.ones(count, bool), np.zeros(0), np.zeros(0),
        labels={"family": words},
    )  # fmt: skip
    row = next(row for row in measure_invariance(frames_with_labels, steps=200) if row.name == "label/family")
    assert row.value > 0.9
    assert row.baseline == pytest.approx(1 / 3)


def test_probe_is_repeatable():
    values, recordings, _ = frames(count=4, each=100)
    runs = [
        probe(values, values[:, 0], recordings, settings=dataclasses.replace(QUICK, steps=20, seed=seed)).predictions
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3


def test_r2_equals_its_definition():
    generator = np.random.default_rng(0)
    target = generator.normal(size=500) * 1e-3 + 1e3
    guess = target + generator.normal(size=500) * 5e-4
    groups = np.arange(500) % 7
    result = r2_interval(guess, target, groups)
    expected = 1 - np.square(guess - target).sum() / np.square(target - target.mean()).sum()
    assert result.value == pytest.approx(expected, abs=1e-6)
    assert r2_interval(np.full(500, target.mean()), target, groups).value == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(r2_interval(guess, np.ones(500), groups).value)


@pytest.mark.slow
def test_measure_invariance_returns_probes_and_rmse():
    values, recordings, _ = frames(count=6, each=200)
    pitch = 60 + 5 * values[:, 1]
    pitch[::3] = np.nan
    loudness = -30 + 5 * values[:, 0]
    loudness[:50] = -100.0
    measured = LatentFrames(
        values,
        loudness,
        pitch,
        recordings,
        np.ones(len(values), bool),
        np.full(12, 0.01),
        np.repeat(np.arange(6), 2),
        {"centroid": 1000.0 + 300.0 * values[:, 2]},
    )
    rows = {row.name: row for row in measure_invariance(measured, range_db=100.0, steps=400)}
    assert set(rows) == {"probe/loudness", "probe/loudness_rank", "probe/pitch", "probe/centroid", "reconstruction/rmse"}
    assert rows["probe/centroid"].value > 0.99
    assert rows["probe/loudness"].value > 0.99
    assert rows["probe/pitch"].value > 0.99
    assert f"{np.isfinite(pitch[50:]).sum()} frames of 6 recordings" in rows["probe/pitch"].definition
    assert rows["reconstruction/rmse"].value == pytest.approx(10.0)
    silent = LatentFrames(
        values,
        np.full(len(values), np.nan),
        np.full(len(values), np.nan),
        recordings,
        measured.scored,
        np.zeros(0),
        np.zeros(0),
    )
    assert measure_invariance(silent) == ()


SHORT = Form(samples=12800)


@dataclasses.dataclass(frozen=True)
class Tones(ListedSource):
    """Tones of known pitch that rise by 20 dB in half a second, followed by silence."""

    counts: tuple[tuple[str, int], ...] = (("train", 6), ("valid", 4), ("test", 2))
    form: Form = SHORT

    def load(self, record, payload):
        wave = np.zeros(12800, np.float32)
        wave[:8000] = harmonic_tone(hertz(record.where), [0.1, 0.05, 0.02], length=8000) * 10 ** np.linspace(-1, 0, 8000)
        return Loaded(wave, f0=hertz(record.where))


def hertz(number):
    return 220.0 * 2 ** (number / 12)


@pytest.mark.slow
def test_latent_frames_have_known_loudness_and_pitch(tmp_path):
    store = build_store(Tones(), tmp_path / "store", workers=1, progress=False)
    mel = LogMel(length=12800, hop=128, n_mels=20, n_frames=0, reference="fixed", range_db=100.0, loudness=True)
    model = make_model("frame_vae", feature_shape=mel.feature_shape, latent_size=4, channels=(8,), strided=0, kernel=3)
    variables = jax.jit(model.init)(jax.random.key(0), mel.analyze(np.zeros((1, 12800), np.float32)))
    space = TimbreSpace(variables=variables, statistics={}, model=model, representation=mel)
    frames = latent_frames(space, store, most_fitted=3, batch_size=4)
    kept = store.length("valid") + store.length("test")
    assert kept >= 4
    assert frames.values.shape == (50 * (kept + 3), 4)
    assert frames.scored.sum() == 50 * kept
    assert frames.errors.shape == frames.error_recording.shape == (kept,)
    first = slice(0, 50)  # the first scored sound
    number = store.metadata("valid")["f0_hz"][0]
    np.testing.assert_allclose(frames.pitch[first][5:25], 12 * np.log2(number), atol=0.1)
    assert np.all(frames.loudness[first][36:] == -100.0)
    wave = store.audio("valid", [0])[0].astype(np.float64)
    for latent in (8, 20):
        levels = [np.mean(wave[n * 128 - 256 : n * 128 + 256] ** 2) for n in (2 * latent, 2 * latent + 1)]
        assert frames.loudness[first][latent] == pytest.approx(np.mean(10 * np.log10(levels)), abs=0.05)
    expected = space.encode(mel.analyze(store.audio("valid", [0]))).values[0]
    np.testing.assert_allclose(frames.values[first], expected, atol=1e-3)
    with pytest.raises(ValueError, match="needs a series space \\(got a static space\\)"):
        latent_frames(space.replace(model=make_model("mean_image", feature_shape=mel.feature_shape)), store)
