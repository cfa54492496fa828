"""Tests of atomic writes."""

from __future__ import annotations

import pytest

from timbre_jax.files import write_text


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_text(tmp_path / "page.html", "old")

    def raise_full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", raise_full_disk)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
