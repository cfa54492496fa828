"""SoundFont player against calculated sounds; the tests write the banks."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.signal import hilbert

from tests.helpers.soundfont import one_preset, sine_sample, write_soundfont
from timbre_jax.soundfont import parser
from timbre_jax.soundfont.parser import SoundFontError, read_soundfont
from timbre_jax.soundfont.player import ATTENUATION_SCALE, GAIN, RATE, render_note

CENTER = np.sqrt(0.5)  # a centered voice, mixed to mono


def play(path, key=69, velocity=127, held=0.6, seconds=0.8):
    bank = read_soundfont(path)
    return render_note(bank, bank.presets[0], key, velocity, held=held, seconds=seconds)


def frequency(wave, start=0.1, stop=0.5):
    """Returns the mean instantaneous frequency of a sine in Hz."""
    phase = np.unwrap(np.angle(hilbert(wave)))
    a, b = round(start * RATE), round(stop * RATE)
    return (phase[b] - phase[a]) / (2 * np.pi) / (stop - start)


def level(wave, start, stop):
    """Returns the peak of a sine in dB from its RMS."""
    piece = wave[round(start * RATE) : round(stop * RATE)].astype(np.float64)
    return 20 * np.log10(np.sqrt(2 * np.mean(piece**2)))


def cents(a, b):
    return 1200 * np.log2(a / b)


def test_looped_sine_has_no_seam(tmp_path):
    note = play(one_preset(tmp_path / "b.sf2"), seconds=3.0, held=2.9)
    time = np.arange(round(2.8 * RATE)) / RATE
    expected = GAIN * CENTER * np.sin(2 * np.pi * 441 * time)
    # Nearly three times the length of the sample, so the loop was repeated.
    np.testing.assert_allclose(note.wave[: len(time)], expected, atol=2e-4)
    assert abs(cents(note.f0, 441)) < 0.05
    assert not note.pitch_moves
    assert note.voices == 1


@pytest.mark.parametrize(
    ("zone", "sample", "preset", "key", "shift"),
    [
        *(({}, {}, {}, key, 100 * (key - 69)) for key in (45, 57, 70, 81)),
        ({"g52": 37}, {}, {}, 69, 37),  # fine tuning
        ({"g51": -5}, {}, {}, 69, -500),  # coarse tuning
        ({"g52": 10}, {}, {parser.FINE_TUNE: 15, parser.COARSE_TUNE: 2}, 69, 225),  # added by the preset
        ({"g58": 57}, {}, {}, 69, 1200),  # another root key
        ({}, {"correction": -20}, {}, 69, -20),
        ({"g56": 50}, {"root": 60}, {}, 69, 450),  # nine keys above the root key, half as far
        ({"g46": 81}, {}, {}, 69, 1200),  # the zone plays one key
    ],
)
def test_key_and_tuning_set_the_pitch(tmp_path, zone, sample, preset, key, shift):
    note = play(one_preset(tmp_path / "b.sf2", sample=sine_sample(**sample), preset=preset, **zone), key=key)
    expected = 441 * 2 ** (shift / 1200)
    assert abs(cents(frequency(note.wave), expected)) < 0.1
    assert abs(cents(note.f0, expected)) < 0.1


def test_f0_is_the_measured_pitch(tmp_path):
    # The sample is 30 cents and an octave above the pitch in its header.
    sample = sine_sample(441.0 * 2 ** (1230 / 1200), seconds=2.0)
    note = play(one_preset(tmp_path / "b.sf2", sample=sample, g54=0))
    assert abs(cents(note.f0, frequency(note.wave))) < 0.5
    assert abs(cents(note.f0, 441) - 1230) < 0.5


def test_volume_envelope_has_its_stages(tmp_path):
    seconds = {34: 0.2, 35: 0.1, 36: 2.0, 38: 1.0}  # attack, hold, decay (of 100 dB), release
    timecents = {f"g{number}": round(1200 * np.log2(value)) for number, value in seconds.items()}
    note = play(one_preset(tmp_path / "b.sf2", **timecents, g37=200), held=1.5, seconds=2.5)
    full = 20 * np.log10(GAIN * CENTER)
    assert level(note.wave, 0.09, 0.11) == pytest.approx(full + 20 * np.log10(0.5), abs=0.15)  # linear in amplitude
    assert level(note.wave, 0.22, 0.28) == pytest.approx(full, abs=0.01)
    assert level(note.wave, 0.495, 0.505) == pytest.approx(full - 10, abs=0.1)  # 0.2 s of a decay of 50 dB/s
    assert level(note.wave, 1.2, 1.4) == pytest.approx(full - 20, abs=0.01)  # sustain, 200 cB
    assert level(note.wave, 1.745, 1.755) == pytest.approx(full - 20 - 25, abs=0.1)  # release of 100 dB/s
    assert np.all(note.wave[round(2.35 * RATE) :] == 0)


@pytest.mark.parametrize("velocity", [1, 25, 64, 100, 127])
def test_velocity_sets_the_level(tmp_path, velocity):
    note = play(one_preset(tmp_path / "b.sf2"), velocity=velocity)
    expected = 20 * np.log10(GAIN * CENTER) - 40 * np.log10(127 / velocity)  # section 8.4.1
    assert level(note.wave, 0.1, 0.5) == pytest.approx(expected, abs=0.02)


def test_bank_replaces_a_default_modulator(tmp_path):
    half = (0x0502, parser.ATTENUATION, 480, 0, 0)
    soft = play(one_preset(tmp_path / "b.sf2", modulators=[half]), velocity=32)
    loud = play(one_preset(tmp_path / "b.sf2", modulators=[half]), velocity=127)
    fall = level(loud.wave, 0.1, 0.5) - level(soft.wave, 0.1, 0.5)
    assert fall == pytest.approx(20 * np.log10(127 / 32), abs=0.02)


def test_preset_adds_a_modulator(tmp_path):
    key_to_tuning = (0x0003, parser.FINE_TUNE, 128, 0, 0)  # linear, key / 128 of 128 cents
    note = play(one_preset(tmp_path / "b.sf2", preset={"modulators": [key_to_tuning]}))
    assert abs(cents(frequency(note.wave), 441) - 69) < 0.2


def test_attenuation_and_pan_change_the_level(tmp_path):
    plain = level(play(one_preset(tmp_path / "a.sf2")).wave, 0.1, 0.5)
    quiet = level(play(one_preset(tmp_path / "b.sf2", g48=100)).wave, 0.1, 0.5)
    assert plain - quiet == pytest.approx(ATTENUATION_SCALE * 10, abs=0.01)
    left = level(play(one_preset(tmp_path / "c.sf2", g17=-500)).wave, 0.1, 0.5)
    assert plain - left == pytest.approx(20 * np.log10(np.sqrt(2)), abs=0.01)


def test_velocity_modulates_the_filter(tmp_path):
    """Lowers the cutoff by two octaves: a sine at the cutoff falls from -3 dB to -24 dB."""
    own = [(0x0102, parser.FILTER_CUTOFF, -2400, 0, 0), (0x0502, parser.ATTENUATION, 0, 0, 0)]
    cutoff = round(1200 * np.log2(1764 / 8.176))
    path = one_preset(tmp_path / "b.sf2", sample=sine_sample(1764.0), g8=cutoff, modulators=own)
    full = 20 * np.log10(GAIN * CENTER)
    assert level(play(path, velocity=127).wave, 0.1, 0.5) == pytest.approx(full - 3, abs=0.1)
    assert level(play(path, velocity=1).wave, 0.1, 0.5) == pytest.approx(full - 24, abs=0.6)


def test_ranges_select_zones_and_global_zones_are_merged(tmp_path):
    low, high = sine_sample(), sine_sample(882.0)
    body = {parser.SAMPLE_MODES: 1}
    path = write_soundfont(
        tmp_path / "b.sf2",
        samples=[low, high],
        instruments=[
            [
                {**body, parser.COARSE_TUNE: 12},  # global zone: an octave up
                {parser.KEY_RANGE: (0, 69), "sample": 0},
                {parser.KEY_RANGE: (69, 127), parser.VELOCITY_RANGE: (101, 127), "sample": 1, parser.COARSE_TUNE: 0},
            ]
        ],
        presets=[{"name": "P", "zones": [{"instrument": 0, parser.KEY_RANGE: (20, 80)}]}],
    )
    assert play(path, key=60, velocity=90).f0 == pytest.approx(882 * 2 ** (-9 / 12), rel=1e-4)
    assert play(path, key=70, velocity=120).f0 == pytest.approx(882 * 2 ** (1 / 12), rel=1e-4)  # the tuning of the zone wins
    assert play(path, key=69, velocity=120).voices == 2
    assert play(path, key=70, velocity=100).voices == 0
    silent = play(path, key=81)
    assert silent.voices == 0
    assert not silent.wave.any()


def test_sample_modes_set_the_loop(tmp_path):
    once = play(one_preset(tmp_path / "a.sf2", g54=0), held=1.5, seconds=2.0)
    assert level(once.wave, 0.5, 0.9) == pytest.approx(20 * np.log10(GAIN * CENTER), abs=0.01)
    assert not once.wave[RATE + 2 :].any()  # a sample of one second
    # Looped until note-off, then the rest of the sample, here an octave higher.
    wave = np.concatenate([sine_sample(seconds=0.5)["data"], sine_sample(882.0, seconds=0.5)["data"]])
    tail = one_preset(
        tmp_path / "b.sf2", sample=sine_sample(data=wave, loop=(11000, 22000)), g54=3, g38=round(1200 * np.log2(20))
    )
    note = play(tail, held=1.0, seconds=1.5)
    assert frequency(note.wave, 0.2, 0.9) == pytest.approx(441, rel=1e-4)
    assert frequency(note.wave, 1.28, 1.45) == pytest.approx(882, rel=1e-3)


def test_vibrato_has_its_rate_and_depth(tmp_path):
    rate = round(1200 * np.log2(5 / 8.176))
    note = play(one_preset(tmp_path / "b.sf2", g6=50, g24=rate), held=1.9, seconds=2.0)
    phase = np.unwrap(np.angle(hilbert(note.wave)))[RATE // 10 : round(1.8 * RATE)]
    moved = cents(np.diff(phase) * RATE / (2 * np.pi), 441)
    moved = np.convolve(moved, np.ones(200) / 200, "valid")
    assert moved.max() == pytest.approx(50, abs=2)
    assert moved.min() == pytest.approx(-50, abs=2)
    turns = np.flatnonzero(np.diff(np.signbit(moved)))
    assert len(turns) == pytest.approx(2 * 5 * 1.7, abs=1)
    assert note.pitch_moves
    assert abs(cents(note.f0, 441)) < 0.1
    assert not play(one_preset(tmp_path / "c.sf2", g6=9, g24=rate)).pitch_moves


def test_modulation_envelope_moves_the_pitch(tmp_path):
    # Starts 1200 cents up and falls to a sustain of 25 % in 0.3 s of a decay of 0.4 s.
    zone = {"g7": 1200, "g28": round(1200 * np.log2(0.4)), "g29": 750}
    note = play(one_preset(tmp_path / "b.sf2", **zone), held=1.4, seconds=1.5)
    assert cents(frequency(note.wave, 0.5, 1.3), 441) == pytest.approx(300, abs=0.5)
    assert cents(frequency(note.wave, 0.14, 0.16), 441) == pytest.approx(1200 * (1 - 0.15 / 0.4), abs=10)
    assert cents(note.f0, 441) == pytest.approx(300, abs=0.5)
    assert note.pitch_moves


def test_tremolo_has_its_depth(tmp_path):
    zone = {"g13": 60, "g22": round(1200 * np.log2(4 / 8.176))}
    note = play(one_preset(tmp_path / "b.sf2", **zone), held=1.0, seconds=1.0)
    envelope = 20 * np.log10(np.abs(hilbert(note.wave))[RATE // 10 : RATE * 9 // 10] / (GAIN * CENTER))
    assert envelope.max() == pytest.approx(6, abs=0.2)
    assert envelope.min() == pytest.approx(-6, abs=0.2)


def test_low_pass_filter_attenuates_12_db_per_octave(tmp_path):
    noise = np.rint(np.random.default_rng(0).normal(0, 3000, 2 * RATE)).astype("<i2")
    sample = sine_sample(data=noise, loop=(0, 2 * RATE), root=69)
    cutoff = round(1200 * np.log2(1000 / 8.176))
    plain = play(one_preset(tmp_path / "a.sf2", sample=sample), held=1.9, seconds=1.9).wave
    dull = play(one_preset(tmp_path / "b.sf2", sample=sample, g8=cutoff), held=1.9, seconds=1.9).wave
    power = [np.abs(np.fft.rfft(x[: RATE * 3 // 2])) ** 2 for x in (plain, dull)]
    hertz = np.fft.rfftfreq(RATE * 3 // 2, 1 / RATE)

    def gain(low, high):
        band = (hertz > low) & (hertz < high)
        return 10 * np.log10(power[1][band].sum() / power[0][band].sum())

    assert gain(20, 200) == pytest.approx(0, abs=0.2)
    assert gain(980, 1020) == pytest.approx(-3, abs=0.4)
    assert gain(3900, 4100) == pytest.approx(-24, abs=1.0)


def test_stereo_pairs_are_mixed_to_mono(tmp_path):
    zones = [{parser.SAMPLE_MODES: 1, parser.PAN: pan, "sample": number} for number, pan in enumerate((-500, 500))]
    path = write_soundfont(
        tmp_path / "b.sf2", samples=[sine_sample(kind=4), sine_sample(kind=2)], instruments=[zones],
        presets=[{"name": "Stereo", "zones": [{"instrument": 0}]}],
    )  # fmt: skip
    note = play(path)
    assert note.voices == 2
    assert level(note.wave, 0.1, 0.5) == pytest.approx(20 * np.log10(GAIN), abs=0.01)
    assert not note.pitch_moves


@pytest.mark.parametrize(("ratio", "f0", "moves"), [(1.5, 220.5, False), (2.0, 441, False), (1.02, 441, True)])
def test_voices_have_a_common_fundamental(tmp_path, ratio, f0, moves):
    tune = 1200 * np.log2(ratio)
    zones = [
        {parser.SAMPLE_MODES: 1, "sample": 0, parser.ATTENUATION: 20 * n, parser.FINE_TUNE: round(n * tune) % 100,
         parser.COARSE_TUNE: round(n * tune) // 100}
        for n in (0, 1)
    ]  # fmt: skip
    path = write_soundfont(
        tmp_path / "b.sf2", samples=[sine_sample()], instruments=[zones],
        presets=[{"name": "Two", "zones": [{"instrument": 0}]}],
    )  # fmt: skip
    note = play(path)
    assert note.f0 == pytest.approx(f0, rel=1e-3)
    assert note.pitch_moves is moves


# Damaged banks. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p, "no such file"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: p.write_bytes(b""), "too short"),
        (lambda p: p.write_text("this is a text file, not a bank"), "does not start with"),
        (lambda p: p.write_bytes(one_preset(p).read_bytes()[:3000]), "cut short"),
        (lambda p: one_preset(p, sample=sine_sample(kind=0x11)), "SF3"),
        (lambda p: write_soundfont(p, samples=[sine_sample()], instruments=[[]], presets=[], version=3), "SF3"),
        (lambda p: write_soundfont(p, samples=[sine_sample()], instruments=[[]], presets=[]), "no presets"),
        (lambda p: one_preset(p, sample=sine_sample(kind=0x8001)), "ROM"),
        (lambda p: one_preset(p, sample={**sine_sample(), "rate": 0}), "outside"),
        (lambda p: write_soundfont(p, samples=[sine_sample()], instruments=[[{"sample": 7}]],
                                   presets=[{"name": "P", "zones": [{"instrument": 0}]}]), "invalid reference"),
    ],
)  # fmt: skip
def test_damaged_banks_are_reported_in_one_line(tmp_path, make, message):
    path = tmp_path / "bank.sf2"
    make(path)
    with pytest.raises(SoundFontError, match=message) as error:
        read_soundfont(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_randomly_damaged_banks_raise_only_soundfont_errors(tmp_path, data):
    path = one_preset(tmp_path / "b.sf2", sample=sine_sample(seconds=0.01))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # The structures are at the end of the file, after the samples.
        place = data.draw(st.integers(0, 150) | st.integers(len(raw) - 480, len(raw) - 1))
        raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    try:
        bank = read_soundfont(path)
    except SoundFontError:
        return
    note = render_note(bank, bank.presets[0], 69, 100, held=0.05, seconds=0.1)
    assert note.wave.shape == (round(0.1 * RATE),)
    assert np.isfinite(note.wave).all()
