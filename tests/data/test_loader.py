import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbre_jax.data.example_source import ExampleSource
from timbre_jax.data.loader import make_pipeline


class Numbers(ExampleSource):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, position):
        return {"values": np.full((3, 2), position, np.float32), "index": np.int32(position)}


def indices(pipeline, batches):
    return np.concatenate([next(pipeline)["index"] for _ in range(batches)]).tolist()


def test_batches_are_arrays_of_the_source():
    batch = next(make_pipeline(Numbers(10), batch_size=4, seed=0))
    assert batch["values"].shape == (4, 3, 2)
    assert batch["values"].dtype == np.float32
    assert batch["index"].dtype == np.int32
    assert (batch["values"][:, 0, 0] == batch["index"]).all()


def test_every_pass_is_complete_and_in_its_own_order():
    pipeline = make_pipeline(Numbers(12), batch_size=4, seed=0)
    passes = [indices(pipeline, 3) for _ in range(5)]
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert len({tuple(one) for one in passes}) == 5
    assert indices(make_pipeline(Numbers(12), batch_size=4, seed=0), 15) == [index for one in passes for index in one]
    assert indices(make_pipeline(Numbers(12), batch_size=4, seed=1), 3) != passes[0]


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 30), batch=st.integers(1, 8), before=st.integers(0, 25), processes=st.integers(1, 3),
    seed=st.integers(0, 1000), data=st.data(),
)  # fmt: skip
def test_place_is_restored_exactly(count, batch, before, processes, seed, data):
    """In the middle of a pass, at its end and passes later, by a new pipeline that knows only the JSON."""
    process = data.draw(st.integers(0, processes - 1))
    options = {"batch_size": batch, "seed": seed, "process_index": process, "process_count": processes}
    pipeline = make_pipeline(Numbers(count), **options)
    for _ in range(before):
        next(pipeline)
    state = json.loads(json.dumps(pipeline.get_state()))
    assert state["examples"] == before * batch * processes
    wanted = indices(pipeline, 6)
    again = make_pipeline(Numbers(count), **options)
    next(again)  # whatever it did before does not matter
    again.set_state(state)
    assert indices(again, 6) == wanted
    pipeline.set_state(state)  # and back in the same one
    assert indices(pipeline, 6) == wanted


@pytest.mark.parametrize("count", [24, 25])
@pytest.mark.parametrize("processes", [2, 4])
def test_the_parts_of_processes_are_together_the_batch_of_one(count, processes):
    """In its order too: what a model does with neighbors in a batch does not depend on how many processes there are."""
    whole = make_pipeline(Numbers(count), batch_size=8, seed=3)
    settings = {"batch_size": 8 // processes, "seed": 3, "process_count": processes}
    parts = [make_pipeline(Numbers(count), process_index=p, **settings) for p in range(processes)]
    for _ in range(25):
        assert [index for part in parts for index in indices(part, 1)] == indices(whole, 1)


def test_a_place_means_the_same_for_other_numbers_of_processes():
    two = make_pipeline(Numbers(20), batch_size=4, seed=3, process_index=0, process_count=2)
    indices(two, 3)
    one = make_pipeline(Numbers(20), batch_size=8, seed=3)
    one.set_state(two.get_state())
    whole = make_pipeline(Numbers(20), batch_size=8, seed=3)
    indices(whole, 3)
    assert indices(one, 4) == indices(whole, 4)


def test_places_of_another_stream_are_refused():
    state = make_pipeline(Numbers(20), batch_size=4, seed=3).get_state()
    with pytest.raises(ValueError, match="saved with seed = 3, this run has 4"):
        make_pipeline(Numbers(20), batch_size=4, seed=4).set_state(state)
    with pytest.raises(ValueError, match="length = 20"):
        make_pipeline(Numbers(21), batch_size=4, seed=3).set_state(state)
    with pytest.raises(ValueError, match="no whole number of global batches"):
        make_pipeline(Numbers(20), batch_size=3, seed=3).set_state({**state, "examples": 4})


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (0, {"batch_size": 4}, "holds no examples"),
        (3, {"batch_size": 0}, "batch_size 0"),
        (3, {"batch_size": 1, "process_index": 2, "process_count": 2}, "process_index 2 of 2"),
    ],
)
def test_wrong_input_is_said(count, options, message):
    with pytest.raises(ValueError, match=message):
        make_pipeline(Numbers(count), seed=0, **options)
