"""Tests of edit files and of the operators on series."""

import dataclasses
import json

import numpy as np
import pytest

from tests.helpers.series import linear_space, random_series
from timbre_jax.generation.edits import apply_edits, make_edit, read_edits
from timbre_jax.types import Latent


@pytest.fixture(scope="module")
def space():
    space = linear_space(3)
    statistics = {**space.statistics, "latent_mean": np.float32([1, 0, -1]), "latent_std": np.float32([2.0, 1.0, 0.5])}
    return space.replace(statistics=statistics)


@pytest.fixture
def latent():
    return random_series(batch=1, count=100)  # 2 s at 50 a second


def edited(space, latent, basis=None, **cells) -> Latent:
    return apply_edits(space, latent, [make_edit(cells)], basis=basis)


def test_csv_and_json_files_give_the_same_edits(space, latent, tmp_path):
    (tmp_path / "a.csv").write_text(
        "start,end,target,operator,amount,fade\n0.5,1,latent 1,offset,2,\n\n,,all,reverse,,\n0,,level,offset,-6:6,\n"
    )
    rows = [
        {"start": 0.5, "end": 1, "target": "latent 1", "operator": "offset", "amount": 2},
        {"operator": "reverse"},
        {"target": "level", "operator": "offset", "amount": "-6:6"},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    results = [apply_edits(space, latent, read_edits(tmp_path / name)) for name in ("a.csv", "a.json")]
    np.testing.assert_array_equal(results[0].values, results[1].values)
    np.testing.assert_array_equal(results[0].conditions["loudness"], results[1].conditions["loudness"])
    expected = np.array(latent.values)
    expected[:, 25:50, 1] += 2.0
    np.testing.assert_allclose(results[0].values, expected[:, ::-1], atol=1e-6)
    level = np.asarray(latent.conditions["loudness"])[:, ::-1] + np.linspace(-6, 6, 100)
    np.testing.assert_allclose(results[0].conditions["loudness"], level, atol=1e-4)


def test_amounts_are_in_training_deviations_around_the_training_mean(space, latent):
    mean, deviation = (np.asarray(space.statistics[name]) for name in ("latent_mean", "latent_std"))
    z = np.asarray(latent.values)
    np.testing.assert_allclose(edited(space, latent, operator="offset", amount=1.5).values, z + 1.5 * deviation, atol=1e-5)
    np.testing.assert_allclose(
        edited(space, latent, operator="scale", amount=0.0).values, np.broadcast_to(mean, z.shape), atol=1e-5
    )
    result = np.asarray(edited(space, latent, operator="set", amount="-1:1", target="latent 2", start=1).values)
    np.testing.assert_allclose(result[0, 50:, 2], -1 + 0.5 * np.linspace(-1, 1, 50), atol=1e-5)
    np.testing.assert_array_equal(result[0, :50], z[0, :50])
    steps = (np.asarray(edited(space, latent, operator="quantize", amount=0.5).values) - mean) / deviation
    np.testing.assert_allclose(steps, np.round(2 * steps) / 2, atol=1e-5)
    drawn = (np.asarray(edited(space, latent, operator="noise", amount=1).values) - z) / deviation
    assert np.abs(drawn.std((0, 1)) - 1).max() < 0.25
    level = edited(space, latent, operator="set", amount=-10, target="level").conditions["loudness"]
    np.testing.assert_allclose(level, -10.0)
    np.testing.assert_allclose(
        edited(space, latent, operator="scale", amount=0, target="level").conditions["loudness"], -20.0, atol=1e-5
    )


def test_time_operators_move_the_level(space, latent):
    z, level = np.asarray(latent.values), np.asarray(latent.conditions["loudness"])
    longer = edited(space, latent, operator="stretch", amount=2, start=0.5, end=1)
    assert longer.values.shape == (1, 125, 3)
    np.testing.assert_array_equal(longer.values[:, 75:], z[:, 50:])
    np.testing.assert_allclose(longer.conditions["loudness"][:, [25, 74]], level[:, [25, 49]], atol=1e-5)
    frozen = edited(space, latent, operator="freeze", amount=1, start=1.5, end=1.6)
    assert frozen.values.shape == (1, 75 + 50 + 20, 3)
    np.testing.assert_array_equal(frozen.values[:, 75:125], np.repeat(z[:, 75:76], 50, 1))
    np.testing.assert_array_equal(frozen.conditions["loudness"][:, 75:125], np.repeat(level[:, 75:76], 50, 1))
    same = edited(space, latent, operator="freeze", start=1.5)
    np.testing.assert_array_equal(same.values[:, 75:], np.repeat(z[:, 75:76], 25, 1))
    back = edited(space, latent, operator="reverse", start=0.2, end=0.4)
    np.testing.assert_array_equal(back.values[:, 10:20], z[:, 19:9:-1])
    np.testing.assert_array_equal(back.values[:, 20:], z[:, 20:])


def test_an_edit_fades_in_and_out_within_its_range(space, latent):
    result = edited(space, latent, operator="offset", amount=1, target="latent 1", start=0.4, end=1.2, fade=0.2)
    change = (np.asarray(result.values) - np.asarray(latent.values))[0, :, 1]
    assert change[:20].max() == change[60:].max() == 0
    np.testing.assert_allclose(change[30:50], 1.0, atol=1e-5)
    assert (np.diff(change[19:31]) > 0).all()
    assert (np.diff(change[49:61]) < 0).all()


@dataclasses.dataclass
class Rotation:
    """Axes that are the first two latents, exchanged and doubled."""

    deviation: np.ndarray

    def to_axes(self, values):
        return 2.0 * np.asarray(values)[..., [1, 0]]

    def from_axes(self, axes):
        axes = np.asarray(axes)
        return np.stack([axes[..., 1], axes[..., 0], np.zeros(axes.shape[:-1])], -1) / 2.0


def test_edits_of_an_axis_keep_the_rest(space, latent):
    result = edited(space, latent, Rotation(np.float32([4.0, 6.0])), operator="offset", amount=1, target="axis 0")
    change = np.asarray(result.values) - np.asarray(latent.values)
    np.testing.assert_allclose(change, np.broadcast_to([0.0, 2.0, 0.0], change.shape), atol=1e-5)
    with pytest.raises(ValueError, match="no playable axes"):
        edited(space, latent, operator="offset", amount=1, target="axis 0")
    with pytest.raises(ValueError, match=r"expected axis 0 to 1 \(got 2\)"):
        edited(space, latent, Rotation(np.ones(2)), operator="offset", amount=1, target="axis 2")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"operator": "dance"}, "operator must be one of"),
        ({"operator": "offset"}, "needs an amount"),
        ({"operator": "offset", "amount": "much"}, r"amount must be a number \(got 'much'\)"),
        ({"operator": "offset", "amount": "nan"}, "finite"),
        ({"operator": "offset", "amount": "1:2:3"}, "a:b"),
        ({"operator": "smooth", "amount": "1:2"}, "a:b for scale"),
        ({"operator": "smooth", "amount": -1}, "between 0 and inf"),
        ({"operator": "stretch", "amount": 0}, "between 0.01 and 100"),
        ({"operator": "reverse", "amount": 1}, "amount of reverse must be empty"),
        ({"operator": "reverse", "target": "level"}, "target must be all"),
        ({"operator": "offset", "amount": 1, "target": "latent x"}, "target must be"),
        ({"operator": "offset", "amount": 1, "start": 2, "end": 1}, "end must be after"),
        ({"operator": "offset", "amount": 1, "start": -1}, "not be negative"),
        ({"operator": "offset", "amount": 1, "color": "red"}, "unknown column 'color'"),
        ({"operator": "reverse", "fade": 1}, "must be empty for"),
    ],
)
def test_wrong_edits_are_refused_with_one_line(cells, message):
    with pytest.raises(ValueError, match=message) as error:
        make_edit(cells, location="edits.csv, line 7")
    assert str(error.value).startswith("edits.csv, line 7: ")
    assert "\n" not in str(error.value)


def test_wrong_files_are_refused_with_one_line(space, latent, tmp_path):
    for name, text, message in (
        ("none.csv", None, "no such file"),
        ("empty.csv", "", "first line must be"),
        ("head.csv", "start,end,target,operator,amount,fade\n", "contains no edits"),
        ("other.csv", "a,b\n1,2\n", "first line must be"),
        ("many.csv", "start,end,target,operator,amount,fade\n0,1,all,offset,1,0,9\n", "line 2: more cells"),
        ("bad.json", "[", "not JSON"),
        ("object.json", "{}", "expected a list of objects"),
        ("binary.csv", b"\xff\xfe\x00\x81", "not a readable text"),
    ):
        if text is not None:
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ValueError, match=message):
            read_edits(tmp_path / name)
    with pytest.raises(ValueError, match=r"starts at 3 s, but the sound ends at 2\.00 s"):
        edited(space, latent, operator="offset", amount=1, start=3)
    with pytest.raises(ValueError, match=r"expected latent 0 to 2 \(got 7\)"):
        edited(space, latent, operator="offset", amount=1, target="7")
    with pytest.raises(ValueError, match="has no level condition"):
        edited(space, latent.replace(conditions={}), operator="offset", amount=1, target="level")
