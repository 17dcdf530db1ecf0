"""The voting page in a browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from pentimento.evaluate.blind import write_study
from pentimento.evaluate.votes import count_votes

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, see the dev extra")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

PAIRS, REPEATS = 6, 2
READY = "main[aria-busy=false]"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


@pytest.fixture
def study(tmp_path):
    """Each of A's pictures is dark and each of B's bright, so that a test sees whose it is looking at."""
    generator = torch.Generator().manual_seed(0)
    dark, bright = ([torch.rand(3, 8, 8, generator=generator) / 4 + base for _ in range(PAIRS)] for base in (0, 0.7))
    texts = [f"label {i}" for i in range(PAIRS)]
    return write_study(
        dark, bright, ("dark", "bright"), tmp_path / "study.html", captions=texts, seed=0, repeat_share=0.34
    )


@pytest.fixture
def page(browser, study):
    """The page, opened from its file; an error, a warning or a request of the page fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened, troubles = context.new_page(), []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda message: troubles.append(message.text))
    opened.on("request", lambda request: troubles.append(request.url) if request.url.startswith("http") else None)
    opened.goto(study.page.as_uri())
    yield opened
    context.close()
    assert not troubles


def dark_side(page):
    """Where A's picture is, by the first sample of each as the browser decoded it; waits for the next pair."""
    page.wait_for_selector(READY)
    sides = page.evaluate(
        """() => Object.fromEntries(['left', 'right'].map((side) => {
        const context = document.createElement('canvas').getContext('2d');
        context.drawImage(document.querySelector(`#${side} img`), 0, 0);
        return [side, context.getImageData(0, 0, 1, 1).data[0] / 255] }))"""
    )
    assert max(sides.values()) >= 0.69 and min(sides.values()) <= 0.26
    return min(sides, key=sides.get)


def state(page):
    return page.evaluate("JSON.parse(localStorage.getItem(Object.keys(localStorage)[0]))")


def download(page, button, path):
    with page.expect_download() as started:
        page.click(button)
    started.value.save_as(path)
    return started.value.suggested_filename, json.loads(path.read_text())


KEY = {"left": "ArrowLeft", "right": "ArrowRight", "none": "ArrowDown"}


def test_votes_cast_by_keys_and_clicks_are_the_preference_that_is_counted(page, study, tmp_path):
    page.fill("#voter", " K. O. ")
    page.keyboard.press("ArrowLeft")  # in the field: moves the cursor, is no vote
    cast, other = [], {"left": "right", "right": "left"}
    for number in range(PAIRS + REPEATS):
        dark = dark_side(page)
        assert page.inner_text("#count") == f"Pair {number + 1} of 8"
        choice = "none" if number % 5 == 4 else dark if number % 5 < 3 else other[dark]
        cast.append((page.inner_text("#caption"), choice, choice == dark))
        if number % 2:  # the first is a click, which also leaves the field
            page.keyboard.press(KEY[choice])
        else:
            page.click(f"#{choice}")
    page.wait_for_selector("#end:not([hidden])")
    assert page.inner_text("#count") == "8 of 8"
    assert page.evaluate("document.activeElement.id") == "thanks"
    name, record = download(page, "#finish", tmp_path / "votes.json")
    assert name == f"votes-{study.study}.json"
    assert (record["voter"], record["planned"]) == ("K. O.", 8)
    assert [vote["choice"] for vote in record["votes"]] == [choice for _, choice, _ in cast]

    seen, first, consistent = {}, [], 0
    for number, (text, choice, for_dark) in enumerate(cast):
        answer = None if choice == "none" else for_dark
        vote = record["votes"][number]
        assert vote["repeat"] == (text in seen)
        if text in seen:
            before = record["votes"][seen[text][0]]
            assert (vote["left"], vote["right"]) == (before["right"], before["left"])  # sides are swapped
            assert number - seen[text][0] >= PAIRS // 2
            consistent += seen[text][1] == answer
        else:
            seen[text] = (number, answer)
            first.append(answer)
    result = count_votes([tmp_path / "votes.json"])
    assert (result.wins_a, result.wins_b, result.ties) == tuple(first.count(answer) for answer in (True, False, None))
    assert result.share.value == first.count(True) / (first.count(True) + first.count(False))
    assert (result.repeats, result.consistent) == (REPEATS, consistent)
    assert result.voters[0].voter == "K. O." and result.pairs == PAIRS


def test_undo_takes_one_vote_back_and_a_reload_goes_on_where_it_was(page, tmp_path):
    for _ in range(3):
        dark_side(page)
        page.keyboard.press("ArrowLeft")
    dark = dark_side(page)
    text = page.inner_text("#caption")
    page.keyboard.press("ArrowRight")
    dark_side(page)
    page.keyboard.press("Backspace")
    assert dark_side(page) == dark
    assert (page.inner_text("#count"), page.inner_text("#caption")) == ("Pair 4 of 8", text)
    before = state(page)
    page.reload()
    assert dark_side(page) == dark
    assert (page.inner_text("#count"), page.inner_text("#caption")) == ("Pair 4 of 8", text)
    assert state(page) == before
    _, record = download(page, "#download", tmp_path / "votes.json")  # at any time
    assert len(record["votes"]) == 3
    assert count_votes([tmp_path / "votes.json"]).pairs == 3
    for _ in range(3):
        page.wait_for_selector(READY)
        page.click("#undo")
    page.wait_for_selector(READY)
    page.keyboard.press("Backspace")  # nothing is left to undo
    assert page.inner_text("#count") == "Pair 1 of 8"
    assert page.get_attribute("#undo", "aria-disabled") == "true"


def test_a_double_click_and_a_held_key_are_one_vote_and_leave_no_frame_behind(page):
    dark_side(page)
    page.dblclick("#left")
    dark_side(page)
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    assert page.inner_text("#count") == "Pair 2 of 8"
    page.keyboard.down("ArrowLeft")
    dark_side(page)
    page.keyboard.down("ArrowLeft")  # repeats while it is held
    page.keyboard.up("ArrowLeft")
    dark_side(page)
    assert page.inner_text("#count") == "Pair 3 of 8"


def test_the_next_voter_begins_anew_after_a_warning_in_an_order_and_on_sides_of_their_own(page, tmp_path):
    page.wait_for_selector(READY)
    page.evaluate("state.votes = state.showings.map(() => ({ choice: 'left', seconds: 1 })); show()")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    first = state(page)["ballot"]
    page.click("#next")
    assert len(asked) == 1 and "not been downloaded" in asked[0]
    assert page.is_visible("#end")
    download(page, "#finish", tmp_path / "votes.json")
    page.click("#next")
    dark_side(page)
    assert page.inner_text("#count") == "Pair 1 of 8" and len(asked) == 1
    assert state(page)["ballot"] != first
    ballots = page.evaluate("Array.from({ length: 12 }, newBallot)")
    assert len({b["ballot"] for b in ballots}) == 12
    assert len({json.dumps([s["pair"] for s in b["showings"] if not s["repeat"]]) for b in ballots}) > 9  # of 720
    flips = [s["flip"] for b in ballots for s in b["showings"] if not s["repeat"]]
    assert 17 < sum(flips) < 55  # 72 fair coins: 36, within 4.5 standard deviations


def test_without_storage_the_page_works_and_says_so(browser, study):
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('no') } })")
    opened = context.new_page()
    opened.goto(study.page.as_uri())
    dark_side(opened)
    assert "does not keep your votes" in opened.inner_text("#note")
    opened.keyboard.press("ArrowLeft")
    dark_side(opened)
    assert opened.inner_text("#count") == "Pair 2 of 8"
    context.close()


@pytest.mark.parametrize(("sizes", "ratio"), [([(1280, 800), (820, 600)], 1), ([(390, 844)], 3)])
def test_small_pictures_are_enlarged_by_whole_multiples_and_all_fits(browser, study, sizes, ratio):
    context = browser.new_context(device_scale_factor=ratio)
    opened = context.new_page()
    opened.goto(study.page.as_uri())
    for width, height in sizes:
        opened.set_viewport_size({"width": width, "height": height})
        opened.wait_for_selector(READY)
        boxes = [opened.locator(f"#{side} img").bounding_box() for side in ("left", "right")]
        for box in boxes:
            scale = box["width"] * ratio / 8
            assert scale == pytest.approx(round(scale)) and box["width"] == box["height"] > 0.28 * min(width, height)
            assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height
        assert (boxes[0]["x"] == boxes[1]["x"]) == (width < 700)  # one above the other on a phone
        assert opened.evaluate("document.documentElement.scrollWidth") == width
    assert opened.evaluate("getComputedStyle(document.querySelector('#left img')).imageRendering") == "pixelated"
    context.close()


def test_every_control_has_a_name_and_text_stands_out_from_its_ground(page):
    contrast = """(names) => { const style = getComputedStyle(document.documentElement);
        const light = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
            .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const [a, b] = names.map((n) => light(style.getPropertyValue(n).trim())).sort((x, y) => y - x);
        return (a + .05) / (b + .05) }"""
    page.wait_for_selector(READY)
    grounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        for ink, ground in (("--ink", "--ground"), ("--quiet", "--ground"), ("--on-strong", "--strong")):
            assert page.evaluate(contrast, [ink, ground]) >= 4.5  # WCAG 2.2, AA
    assert len(grounds) == 2
    for name in ("First picture", "Second picture", "No preference", "Undo", "Download votes"):
        assert page.get_by_role("button", name=name).is_visible()
    assert page.get_by_label("Name or initials (optional)").is_visible()
    assert page.get_by_role("progressbar", name="Pairs done").get_attribute("aria-valuemax") == "8"
