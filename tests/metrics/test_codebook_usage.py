"""Tests of the use of codes on known code sequences."""

import numpy as np
import pytest

from timbre_jax.metrics.codebook_usage import code_uses
from timbre_jax.types import Latent


def coded(codes, **more) -> Latent:
    codes = np.asarray(codes, np.int32)
    return Latent(values=np.zeros((*codes.shape[:2], 2), np.float32), codes=codes, **more)


def test_perplexity_of_evenly_used_codes_is_their_number():
    uses = code_uses(coded(np.arange(12).reshape(3, 4) % 6), 8)
    assert uses.perplexity.value[0] == pytest.approx(6.0)
    assert uses.used.tolist() == [6]
    np.testing.assert_array_equal(uses.counts, [[2, 2, 2, 2, 2, 2, 0, 0]])
    assert uses.table().column("latents") == [12]
    one = code_uses(coded(np.full((2, 5), 3)), 8)
    assert one.perplexity.value[0] == pytest.approx(1.0)


def test_perplexity_of_known_shares_ignores_masked_and_silent_latents():
    codes = np.zeros((2, 4, 2), np.int32)
    codes[..., 0] = [[0, 0, 0, 1], [0, 0, 0, 1]]
    codes[1, :, 1] = 1
    uses = code_uses(coded(codes), 4)
    p = np.array([0.75, 0.25])
    np.testing.assert_allclose(uses.perplexity.value, [np.exp(-(p * np.log(p)).sum()), 2.0])
    # The second codebook has one code in each recording, so a resample may have only one.
    assert uses.perplexity.low[1] == pytest.approx(1.0)
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 0]], np.float32)
    assert code_uses(coded(codes, mask=mask), 4).used.tolist() == [1, 2]
    gain = np.array([[-20.0] * 3 + [-90.0], [-20.0] * 3 + [-90.0]])
    quiet = code_uses(coded(codes, conditions={"gain_db": gain}), 4)
    assert (quiet.latents, quiet.used.tolist()) == (6, [1, 2])
    with pytest.raises(ValueError, match="no codes"):
        code_uses(Latent(values=np.zeros((1, 2, 2))), 4)
