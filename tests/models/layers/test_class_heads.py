import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

from timbre_jax.models.layers.class_heads import label_nll


def test_what_a_label_costs():
    """Cross-entropy against SciPy; a sound without a label costs nothing."""
    logits = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    nll, wrong = label_nll(jnp.asarray(logits), jnp.asarray([1, 3, -1]))
    for sound, label in enumerate((1, 3)):
        np.testing.assert_allclose(nll[sound], -log_softmax(logits[sound], axis=-1)[:, label], rtol=1e-5)
        np.testing.assert_array_equal(wrong[sound], logits[sound].argmax(-1) != label)
    np.testing.assert_array_equal(nll[2], 0.0)
    np.testing.assert_array_equal(wrong[2], 0.0)
