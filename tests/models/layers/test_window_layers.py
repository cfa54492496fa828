import jax.numpy as jnp
import numpy as np
from scipy import signal

from timbre_jax.models.layers.window_layers import centered_windows, leveled_windows


def test_levels_equal_those_of_the_windows():
    waves = np.random.default_rng(0).normal(size=(2, 5120)).astype(np.float32) * np.array([[0.1], [0.5]], np.float32)
    windows, gain = leveled_windows(centered_windows(jnp.asarray(waves), hop=256, window=1024), hop=256)
    assert windows.shape == (2, 20, 1024)
    window = signal.get_window("hann", 1024)
    padded = np.pad(waves.astype(np.float64), ((0, 0), (512, 1024)))
    for n in (0, 7, 19):
        seen = padded[:, n * 256 : n * 256 + 1024] * window
        power = np.square(seen).sum(-1) / np.square(window).sum()
        np.testing.assert_allclose(gain[:, n], 10 * np.log10(power), atol=1e-3)
        np.testing.assert_allclose(windows[:, n], seen / np.sqrt(power)[:, None], atol=1e-4)


def test_silence_stays_silent():
    windows, gain = leveled_windows(jnp.zeros((1, 3, 1024)), hop=256)
    np.testing.assert_array_equal(gain, np.full((1, 3), -100.0))
    assert not np.any(windows)
