"""Classes of names of real kits, as their authors intended."""

import pytest

from timbre_jax.data.importers.class_rules import Rule, class_of_names, name_words, read_rules

# From hydrogen-drumkits, hydrogen-data, sonic-pi-samples and lmms-common, and common spellings.
NAMES = {
    "kick": ["PearlKick-Softest", "BD_03", "bd_haus", "bassdrum_acoustic01", "drum_bass_hard", "HardKick 7", "808_Kick_Long",
             "bassdrum-4mics-br-stereo-soft2", "Kick-0", "BigKick", "hollow_kick", "BassDrum1"],
    "snare": ["jsnare_03", "SnareOffRim-4", "PearlSideStick-Med", "SN4_06", "sd_08", "sn_dolf", "rim_03", "RimClick-1",
              "snare-opaque-normal-mic-rimshot6", "garage-city-snare-snappy", "Snare_Rimshot", "SD1", "snr-02"],
    "hihat": ["SabianHatOpen-Hard", "HH2_07", "Hard_CHH_01", "Hard_Hse_OHH_1", "hhopen_03", "closehihat3", "openhat2", "hh_p",
              "HiHatSemiopen-1", "VP Hat 1 Cl", "hihat_foot_pedal01", "drum_cymbal_closed", "ho_01", "hi-hat", "Hi Hat Open",
              "104227__minorr__hhat-paiste-302-14-open-p", "HHAT-4"],
    "tom": ["PearlTomFloor-Med", "TM2_08", "floortom_04", "t1_01", "ft_02", "tom_mid01", "VP Tom Hi", "101450__tomh", "LowTom"],
    "cymbal": ["ZildjianSplashChoke-Hard", "crash16i__ride_cup4", "RD2_01", "rc_02", "cc_01", "China-4", "24Ride-3",
               "CrashRide18Bell-2", "PaisteBell-Soft", "808_Cymbal", "cra_Rock_a", "Ride Bell"],
    "clap": ["HandClap-Hardest", "Amp_Clap_1", "EE_Clap", "Fingersnap-Med", "perc_snap2", "cp_01", "clap01", "LoudClaps"],
    "metallic": ["Cowbell-Med", "mc_cb", "AgogoHigh-3", "wind_chimes01", "perc_bell2", "Sangban1 Bell Hit", "Triangle_Open"],
    "shaker": ["Maraca-Hard", "TambourineFoot-1", "shaker03", "cabasa 2", "808_Shaker"],
    "wooden": ["WoodBlock-Soft", "Clave-Hard", "clav01", "Stick-2", "stick_Woody", "guiro long", "wb2"],
    "hand drum": ["BongoHi-Med", "Djembe3 Slap", "tabla_ghe5", "CajonThumps-Soft", "EE_Conga_1", "Kenkeni1 Head Hit"],
    "mallet drum": ["Marimba C3", "timpani-roll", "vibraphone_04", "Mallet Drum 12"],
    "combo": ["Combo 04", "KickSnare 2", "kick_hat_1"],
}  # fmt: skip


DRUM_RULES = read_rules()


@pytest.mark.parametrize(("label", "name"), [(label, name) for label, names in NAMES.items() for name in names])
def test_names_of_real_kits_give_their_class(label, name):
    assert class_of_names([name], DRUM_RULES) == label


@pytest.mark.parametrize(
    "name",
    ["beats_06-38", "guit_e_fifths", "EE_Whistle", "ambi_swoosh", "custom", "bottom_end", "phantom", "override", "chorus02",
     "What", "bride", "eclipse", "10tri", "sidedish", "atom"],
)  # fmt: skip
def test_words_within_other_words_are_ignored(name):
    assert class_of_names([name], DRUM_RULES) is None


def test_loops_have_no_class():
    for name in ("loop_tabla", "house_loop01", "loop_breakbeat", "KickLoops", "Groove-snare"):
        assert class_of_names([name], DRUM_RULES) == ""


def test_first_matching_rule_wins_over_all_names_of_a_sound():
    """Prefers a whole word in drumkit.xml to an abbreviation in the file name.

    BJA_Pacific calls CB_02 a crash.
    """
    assert class_of_names(["CB_02"], DRUM_RULES) == "metallic"
    assert class_of_names(["CB_02", "Crash Left"], DRUM_RULES) == "cymbal"
    assert class_of_names(["beats_07-18", "g3 - bass drum 3"], DRUM_RULES) == "kick"


def test_names_are_divided_into_words():
    assert {"hi", "hat", "open", "2", "hihat", "hatopen", "hihatopen"} <= name_words("HiHatOpen_2")
    assert {"chh", "02"} <= name_words("Hard_CHH_02")
    assert {"hh", "hhopen"} - name_words("HHopen") <= {"hh"}
    assert name_words("") == name_words("---") == set()
    assert "барабан" in name_words("Барабан 3".lower())


def test_custom_table_replaces_class_words(tmp_path):
    table = tmp_path / "words.txt"
    table.write_text("# mine\n\nwarm: pad*, slow strings\ncold : Ice , FM-bell  # glassy\nunlabeled: take*\n")
    rules = read_rules(table)
    assert rules == (Rule("warm", ("pad*", "slowstrings")), Rule("cold", ("ice", "fmbell")), Rule("unlabeled", ("take*",)))
    assert class_of_names(["SlowStrings-3"], rules) == "warm"
    assert class_of_names(["my fm bell"], rules) == "cold"
    assert class_of_names(["pads2"], rules) == "warm"
    assert class_of_names(["take 3 ice"], rules) == "cold"
    assert class_of_names(["Take 3"], rules) == ""
    assert class_of_names(["else"], rules) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kick bd\n", "line 1: must have the form CLASS: word, word (got 'kick bd')"),
        ("# only\nkick: ,\n", "line 2"),
        (": bd\n", "line 1"),
        ("# nothing\n", "no line of the form"),
        (b"\xff\xfe kick", "not UTF-8"),
        (None, "No such file"),
    ],
)
def test_invalid_tables_are_reported_in_one_line(tmp_path, text, message):
    table = tmp_path / "words.txt"
    if text is not None:
        table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"words\.txt") as error:
        read_rules(table)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
