"""The probe finds what is there, on recordings that it did not see, and nothing where there is nothing."""

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

QUICK = ProbeSettings(steps=300, batch=256, learning_rate=1e-2, draws=100)


def frames(count=8, each=300, size=6, seed=0, apart=0.5):
    """Latents of some recordings, each about its own place, as those of real ones are."""
    generator = np.random.default_rng(seed)
    recordings = np.repeat(np.arange(count), each)
    places = generator.normal(size=(count, size)) * apart
    return generator.normal(size=(count * each, size)) + places[recordings], recordings, generator


def test_planted_loudness_is_found_though_it_is_bent():
    values, recordings, generator = frames()
    loudness = -40 + 12 * np.tanh(values[:, 0] - values[:, 1]) + 6 * np.square(values[:, 2])
    loudness += generator.normal(size=len(values)) * loudness.std() * 0.5  # a fifth of the variance is noise
    found = probe(values, loudness, recordings, settings=QUICK)
    assert 0.68 < found.r2.value < 0.82
    assert found.r2.low < found.r2.value < found.r2.high
    assert found.r2.groups == 8
    assert found.frames == len(values)
    spread = np.square(loudness - loudness.mean()).sum()
    assert found.r2.value == pytest.approx(1 - np.square(found.predictions - loudness).sum() / spread)


def test_independent_noise_is_not_found_and_neither_is_what_only_the_recordings_share():
    """A loudness that is each recording's own could be learned by heart from the places of the recordings."""
    values, recordings, generator = frames(count=12)
    noise = generator.normal(size=len(values))
    assert probe(values, noise, recordings, settings=QUICK).r2.value < 0.05
    values, recordings, generator = frames(count=12, apart=3.0)
    own = generator.normal(size=12)[recordings] + 0.1 * noise
    assert probe(values, own, recordings, settings=QUICK).r2.value < 0.2
    assert probe(values, own, np.arange(len(values)), settings=QUICK).r2.value > 0.6


def test_only_judged_recordings_count_and_frames_without_a_target_are_left_out():
    values, recordings, _ = frames()
    target = values[:, 0].copy()
    target[5:40] = np.nan
    judged = recordings < 3
    found = probe(values, target, recordings, judged=judged, settings=QUICK)
    assert found.r2.groups == 3
    assert found.r2.value > 0.97
    np.testing.assert_array_equal(np.isfinite(found.predictions), judged & np.isfinite(target))
    with pytest.raises(ValueError, match="at least 2 recordings to be judged on, there are 1"):
        probe(values, target, recordings, judged=recordings == 3, settings=QUICK)
    with pytest.raises(ValueError, match="K targets"):
        probe(values, target[:-1], recordings, settings=QUICK)


def test_planted_labels_are_named_and_others_are_not():
    values, recordings, generator = frames(count=12)
    words = np.where(recordings % 3 == 0, "bow", np.where(recordings % 3 == 1, "pluck", "hammer"))
    rate, count = probe_label(values, words, recordings, settings=QUICK)
    assert (count, rate.groups) == (3, 12)
    assert rate.low < 0.45  # chance is a third
    # Said by one latent, and unevenly often: the mean is over labels.
    told = values.copy()
    told[:, 2] = generator.normal(size=len(values)) * 0.3 + np.where(words == "bow", 2.0, np.where(words == "pluck", 0.0, -2.0))
    rate, _ = probe_label(told, words, recordings, settings=QUICK)
    assert rate.value > 0.97
    assert rate.low <= rate.value <= rate.high
    with pytest.raises(ValueError, match="two with at least 2 recordings"):
        probe_label(values, np.where(recordings == 0, "bow", "pluck"), recordings, settings=QUICK)
    given = LatentFrames(
        told, np.full(len(told), -20.0), np.full(len(told), np.nan), recordings, np.ones(len(told), bool), np.zeros(0),
        np.zeros(0), labels={"family": words},
    )  # fmt: skip
    row = next(row for row in measure_invariance(given, steps=200) if row.name == "label/family")
    assert row.value > 0.9
    assert row.baseline == pytest.approx(1 / 3)


def test_the_same_seed_gives_the_same_probe():
    values, recordings, _ = frames(count=4, each=100)
    runs = [
        probe(values, values[:, 0], recordings, settings=dataclasses.replace(QUICK, steps=20, seed=seed)).predictions
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3


def test_r2_is_the_textbooks():
    generator = np.random.default_rng(0)
    target = generator.normal(size=500) * 1e-3 + 1e3
    guess = target + generator.normal(size=500) * 5e-4
    groups = np.arange(500) % 7
    found = r2_interval(guess, target, groups)
    expected = 1 - np.square(guess - target).sum() / np.square(target - target.mean()).sum()
    assert found.value == pytest.approx(expected, abs=1e-6)
    assert r2_interval(np.full(500, target.mean()), target, groups).value == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(r2_interval(guess, np.ones(500), groups).value)


@pytest.mark.slow
def test_rows_of_a_space_are_loudness_pitch_and_the_reconstruction():
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
        measured.judged,
        np.zeros(0),
        np.zeros(0),
    )
    assert measure_invariance(silent) == ()


SHORT = Form(samples=12800)


@dataclasses.dataclass(frozen=True)
class Tones(ListedSource):
    """Half a second of a tone that rises by 20 dB, then silence: loudness and pitch are known in every frame."""

    counts: tuple[tuple[str, int], ...] = (("train", 6), ("valid", 4), ("test", 2))
    form: Form = SHORT

    def load(self, record, payload):
        wave = np.zeros(12800, np.float32)
        wave[:8000] = harmonic_tone(hertz(record.where), [0.1, 0.05, 0.02], length=8000) * 10 ** np.linspace(-1, 0, 8000)
        return Loaded(wave, f0=hertz(record.where))


def hertz(number):
    return 220.0 * 2 ** (number / 12)


@pytest.mark.slow
def test_frames_of_a_store_have_the_loudness_and_pitch_that_sounds(tmp_path):
    store = build_store(Tones(), tmp_path / "store", workers=1, progress=False)
    mel = LogMel(length=12800, hop=128, n_mels=20, n_frames=0, reference="fixed", range_db=100.0, loudness=True)
    model = make_model("frame_vae", feature_shape=mel.feature_shape, latent_size=4, channels=(8,), strided=0, kernel=3)
    variables = jax.jit(model.init)(jax.random.key(0), mel.analyze(np.zeros((1, 12800), np.float32)))
    space = TimbreSpace(variables=variables, statistics={}, model=model, representation=mel)
    frames = latent_frames(space, store, most_fitted=3, batch_size=4)
    kept = store.length("valid") + store.length("test")
    assert kept >= 4
    assert frames.values.shape == (50 * (kept + 3), 4)
    assert frames.judged.sum() == 50 * kept
    assert frames.errors.shape == frames.error_recording.shape == (kept,)
    first = slice(0, 50)  # the first judged sound
    number = store.metadata("valid")["f0_hz"][0]
    np.testing.assert_allclose(frames.pitch[first][5:25], 12 * np.log2(number), atol=0.1)
    assert np.all(frames.loudness[first][36:] == -100.0)
    wave = store.audio("valid", [0])[0].astype(np.float64)
    for latent in (8, 20):
        levels = [np.mean(wave[n * 128 - 256 : n * 128 + 256] ** 2) for n in (2 * latent, 2 * latent + 1)]
        assert frames.loudness[first][latent] == pytest.approx(np.mean(10 * np.log10(levels)), abs=0.05)
    again = space.encode(mel.analyze(store.audio("valid", [0]))).values[0]
    np.testing.assert_allclose(frames.values[first], again, atol=1e-3)
    with pytest.raises(ValueError, match="in a series space; this one is static"):
        latent_frames(space.replace(model=make_model("mean_image", feature_shape=mel.feature_shape)), store)
