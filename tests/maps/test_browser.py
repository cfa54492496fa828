"""Tests of the pages of maps in a browser; skipped without Chromium or Playwright."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from tests.helpers.serving import serving
from timbre_jax.maps.page import class_colors, grid_tiles, map_page
from timbre_jax.maps.server import map_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.xdist_group("small_analysis"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"),
]
MALICIOUS_NAMES = [
    '</script><img src=x onerror="window.harmed=1">',
    '<b onmouseover="window.harmed=1">"quoted" & \'single\'',
    "снэйр 🥁",
    "long " * 300,
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements-test.txt)")
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        launched = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield launched
        launched.close()


@pytest.fixture
def page(browser):
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.errors = []
    opened.fetched = []
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.on("console", lambda message: opened.errors.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: opened.fetched.append(request.url))
    yield opened
    opened.close()


def screen_position(page, x: float, y: float) -> tuple[float, float]:
    """Returns the position of a point of the map on the screen."""
    return tuple(page.evaluate(
        "([x, y]) => { const b = document.getElementById('map').getBoundingClientRect();"
        " return [b.left + pixelX(x), b.top + pixelY(y)]; }",
        [x, y],
    ))  # fmt: skip


def test_click_on_the_served_page_makes_and_plays_a_sound(page, run_map):
    library, coordinates = run_map.library, run_map.sound_map.coordinates
    lines: list[str] = []
    with serving(map_server(run_map, run_map.run.space, port=0, log=lines.append)) as server:
        page.goto(server.address)
        page.wait_for_selector("body[data-ready]")
        page.mouse.click(*screen_position(page, 0.42, 0.37))
        page.wait_for_selector("body[data-made='1']")
        assert page.locator("#status").inner_text().startswith("New sound at (0.42")
        assert "synthesis" in page.locator("#times").inner_text()
        assert float(page.evaluate("document.body.dataset.clickMs")) > 0
        assert page.evaluate("audioSource !== null && audioSource.buffer.duration") == pytest.approx(4.0)
        assert page.evaluate("audioSource.buffer.getChannelData(0).some(v => Math.abs(v) > 0.001)")
        pixels = "Array.from(document.getElementById('picture').getContext('2d').getImageData(0, 0, 300, 150).data)"
        assert len(set(page.evaluate(pixels))) > 20
        names = page.locator("#near .name").all_inner_texts()
        nearest = np.argsort(np.linalg.norm(coordinates - [0.42, 0.37], axis=1))[:6]
        assert [name.split("\n")[0] for name in names] == [library.ids[row] for row in nearest]
        with page.expect_download() as download:
            page.locator("#save").click()
        assert download.value.suggested_filename.endswith(".wav")
        assert os.path.getsize(download.value.path()) == 44 + 2 * 64000
        # A click on a dot selects the place of its sound; the keyboard works like the mouse.
        page.mouse.click(*screen_position(page, *coordinates[5].tolist()))
        page.wait_for_selector("body[data-made='2']")
        assert "at a library sound" in page.locator("#status").inner_text()
        page.locator("#map").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-made='3']")
        with page.expect_response("**/library?i=*") as answer:
            page.locator("#near button").first.click()
        assert answer.value.headers["content-type"] == "audio/wav"
        assert all(address.startswith((server.address, "blob:", "data:")) for address in page.fetched)
        assert page.errors == []
        assert len(lines) == 3


def test_page_works_as_a_file_and_escapes_names(page, tmp_path):
    classes, ids = class_colors(MALICIOUS_NAMES)
    silence = "data:audio/wav;base64,UklGRiQAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQAAAAA="
    sounds = [
        {"name": name, "x": 0.2 + 0.2 * i, "y": 0.5, "class": int(ids[i]), "audio": silence}
        for i, name in enumerate(MALICIOUS_NAMES)
    ]
    waves = np.random.default_rng(0).normal(size=(4, 4000)).astype(np.float32) * 0.1
    grid = grid_tiles(np.full((4, 2), 0.5), np.zeros(4), waves, 16000, audio=True)
    text = map_page(
        MALICIOUS_NAMES[0],
        MALICIOUS_NAMES[1],
        sounds=sounds,
        classes=classes,
        grid=grid,
        labels=[{"name": MALICIOUS_NAMES[1], "x": 0.5, "y": 0.5}],
    )
    (tmp_path / "map.html").write_text(text, encoding="utf-8")
    page.goto((tmp_path / "map.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    page.mouse.move(*screen_position(page, 0.4, 0.5))
    page.wait_for_function("document.getElementById('tip').style.display === 'block'")
    assert MALICIOUS_NAMES[1] in page.locator("#tip").inner_text()
    page.mouse.click(*screen_position(page, 0.2, 0.52))
    assert page.locator("#status").inner_text().startswith(f"Nearest sound: {MALICIOUS_NAMES[0]}")
    assert page.locator("#near .name").first.inner_text().startswith(MALICIOUS_NAMES[0])
    page.fill("#find", "СНЭЙР")
    assert page.locator("#hits").inner_text() == "1 of 4"
    page.locator("#legend button").first.click()
    assert page.locator("#legend button").first.get_attribute("aria-pressed") == "false"
    page.locator("#grid").click(position={"x": 20, "y": 20})
    assert page.locator("#tile").inner_text().startswith("Tile 1")
    assert page.evaluate("window.harmed") is None
    assert page.errors == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert all(address.startswith(("file:", "data:")) for address in page.fetched)
