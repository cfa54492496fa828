"""Tests of atomic writes."""

from __future__ import annotations

import pytest

from timbre_jax.files import write_text


def test_failed_write_keeps_old_file(tmp_path, monkeypatch):
    path = write_text(tmp_path / "page.html", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
