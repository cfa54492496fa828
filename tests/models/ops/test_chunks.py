import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models.ops.chunks import chunks, joined


@pytest.mark.parametrize(("devices", "count", "shape"), [(1, 16, (4, 4)), (4, 16, (1, 16)), (4, 32, (2, 16)), (4, 6, (3, 2))])
def test_chunks_have_the_same_share_of_every_device_and_are_joined_in_order(devices, count, shape):
    """Devices have the examples one after another; a batch that cannot be cut over them is as on one device."""
    mesh = jax.sharding.AbstractMesh((devices,), ("data",))

    @jax.jit
    def cut(x):
        with jax.sharding.use_abstract_mesh(mesh):
            parts = chunks(x, 4)
            return parts, joined(parts)

    parts, whole = cut(jnp.arange(count, dtype=jnp.float32)[:, None] * jnp.ones(3))
    np.testing.assert_array_equal(whole[:, 1], np.arange(count))
    assert parts.shape == (*shape, 3)
    if count % devices == 0:
        owners = np.asarray(parts[..., 0]) // (count // devices)
        assert all((np.bincount(chunk.astype(int), minlength=devices) == shape[1] // devices).all() for chunk in owners)


def test_an_accelerator_takes_more_at_once(monkeypatch):
    x = jnp.arange(128.0)[:, None]
    assert chunks(x, 1).shape == (128, 1, 1)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chunks(x, 1).shape == (2, 64, 1)
    np.testing.assert_array_equal(joined(chunks(x, 1)), x)
    # No loop over single pictures because 64 does not divide their number.
    for count, shape in ((100, (2, 50)), (141, (3, 47)), (67, (1, 67)), (33, (1, 33)), (96, (2, 48))):
        assert chunks(jnp.zeros((count, 1)), 1).shape == (*shape, 1)
