"""File names of any kind, and folders without sounds."""

import os
import re

import pytest
import soundfile

from tests.helpers.library import build, columns_by_id, hit, report_rows, write, write_broken, write_library
from timbre_jax.data.importers.folder_files import printable


def test_names_that_are_not_text_stay_distinct(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate((b"caf\xe9.wav", b"caf\xe8.wav", "Größe ☃.wav".encode(), b"new\nline.wav", b"\\xe9.wav")):
        path = os.path.join(os.fsencode(folder), name)
        with open(path, "wb") as file:
            soundfile.write(file, hit(number), 44100, format="WAV")
    store = build(tmp_path / "store", folder)
    assert set(columns_by_id(store)) == {"caf\\xe9.wav", "caf\\xe8.wav", "Größe ☃.wav", "new\\nline.wav", "\\xe9.wav"}
    assert printable(os.fsdecode(b"\xff\xfe/a")) == "\\xff\\xfe/a"


def test_folders_without_sounds_are_rejected(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    for number in range(3):
        (tmp_path / "text" / f"{number}.txt").write_text("words")
    write(tmp_path / "a.wav", hit(1))
    write_broken(tmp_path / "all broken" / "a.wav", "text")
    write_broken(tmp_path / "all broken" / "b.wav", "silent")
    for name, message in (
        ("empty", "no sound files (got 0 other files, expected .wav, "),
        ("text", "no sound files (got 3 other files"),
        ("none", "no such folder"),
        ("a.wav", "is a file; give its folder"),
        ("all broken", "no sound is left (1 unreadable; 1 silent); see "),
    ):
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            build(tmp_path / "store", tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="--path: missing; give a folder of sound files"):
        build(tmp_path / "other")
    assert not (tmp_path / "store").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_folder_that_cannot_be_opened_is_reported(tmp_path):
    folder = write_library(tmp_path / "lib", 6)
    os.chmod(folder / "kick", 0)
    try:
        store = build(tmp_path / "store", folder)
    finally:
        os.chmod(folder / "kick", 0o755)
    assert report_rows(store)["kick"]["left_out"] == "unreadable (Permission denied)"
    assert store.index["doctor"]["kept"] == 4
