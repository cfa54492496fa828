import json

import pytest

from timbre_jax.representations import (
    LOG_MEL_PRESETS,
    HarmonicTracks,
    WaveFrames,
    make_representation,
    representation_settings,
)

HZ = HarmonicTracks(n_harmonics=0, f0_scale="hz", f0_range=(70.0, 2200.0))


@pytest.mark.parametrize("representation", [HZ, *LOG_MEL_PRESETS.values(), WaveFrames(hop=128, window=512)])
def test_settings_go_through_json(representation):
    again = make_representation(representation.name, **json.loads(json.dumps(representation_settings(representation))))
    assert again == representation
    assert hash(again) == hash(representation)


def test_an_unknown_representation_lists_the_known_ones():
    with pytest.raises(ValueError, match="harmonic_tracks"):
        make_representation("harmonic_trucks")
