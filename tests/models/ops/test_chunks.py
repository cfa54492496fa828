import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models.ops.chunks import join_chunks, split_chunks


@pytest.mark.parametrize(("devices", "count", "shape"), [(1, 16, (4, 4)), (4, 16, (1, 16)), (4, 32, (2, 16)), (4, 6, (3, 2))])
def test_chunks_contain_an_equal_share_of_every_device(devices, count, shape):
    """Checks shapes, order and devices, also of a batch that cannot be sharded."""
    mesh = jax.sharding.AbstractMesh((devices,), ("data",))

    @jax.jit
    def split_and_join(x):
        with jax.sharding.use_abstract_mesh(mesh):
            parts = split_chunks(x, 4)
            return parts, join_chunks(parts)

    parts, whole = split_and_join(jnp.arange(count, dtype=jnp.float32)[:, None] * jnp.ones(3))
    np.testing.assert_array_equal(whole[:, 1], np.arange(count))
    assert parts.shape == (*shape, 3)
    if count % devices == 0:
        owners = np.asarray(parts[..., 0]) // (count // devices)
        assert all((np.bincount(chunk.astype(int), minlength=devices) == shape[1] // devices).all() for chunk in owners)


def test_chunks_are_larger_on_an_accelerator(monkeypatch):
    x = jnp.arange(128.0)[:, None]
    assert split_chunks(x, 1).shape == (128, 1, 1)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert split_chunks(x, 1).shape == (2, 64, 1)
    np.testing.assert_array_equal(join_chunks(split_chunks(x, 1)), x)
    # Batches that 64 does not divide are not processed one by one.
    for count, shape in ((100, (2, 50)), (141, (3, 47)), (67, (1, 67)), (33, (1, 33)), (96, (2, 48))):
        assert split_chunks(jnp.zeros((count, 1)), 1).shape == (*shape, 1)
