"""The demo page in a real browser against the real service."""

import base64
import re
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, Route, expect, sync_playwright

from bot import replies
from inference.errors import MAX_BYTES

ANSWER_SECONDS = 60  # on a machine that is busy with other things
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
QUIET = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (make programs installs Debian's)")
    with sync_playwright() as playwright:
        # As root, which containers run as, Chromium works only without its sandbox.
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, service) -> Iterator[Page]:
    """The open page; fails its test afterwards if it complained or asked another server for anything."""
    with browser.new_context(viewport=DESKTOP, base_url=service.url) as context:
        page = context.new_page()
        lines: list[ConsoleMessage] = []
        errors: list[Error] = []
        asked: list[str] = []
        page.on("console", lambda line: lines.append(line))
        page.on("pageerror", lambda error: errors.append(error))
        page.on("request", lambda request: asked.append(request.url))
        page.goto("/")
        yield page
    assert errors == []
    # The browser itself logs a refused or lost request, or a file that it can't show, which the page handles.
    handled = re.compile("^blob:|/(analyze|healthz)$")
    assert [line.text for line in lines if not handled.search(line.location["url"])] == []
    assert [url for url in asked if not url.startswith((service.url, "blob:"))] == []


@pytest.fixture(scope="module")
def photo(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    return path


@pytest.fixture(scope="module")
def note(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("notes") / "note.txt"
    path.write_text("This is no photo.")
    return path


def choose(page: Page, *paths: Path) -> None:
    page.set_input_files("#photos", paths)


def expect_state(result: Locator, state: str) -> None:
    expect(result).to_have_attribute("data-state", state, timeout=ANSWER_SECONDS * 1000)


def expect_astronaut(result: Locator) -> None:
    """One face, and the annotated photo in full size."""
    expect_state(result, "found")
    expect(result.locator(".face")).to_have_count(1)
    assert result.locator(".picture img").evaluate("image => image.naturalWidth") == 512


def wait_until_held(page: Page, held: list[Route]) -> Route:
    """The request that a route holds; it may come there after the page has said that it sends a photo."""
    while not held:
        page.wait_for_timeout(20)  # milliseconds
    return held[0]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=int)


def sideways_scroll(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_choosing_a_photo_shows_its_face(page: Page, photo: Path) -> None:
    choose(page, photo)
    result = page.locator(".result")
    expect_astronaut(result)
    expect(result.locator(".status")).to_have_text("Found 1 face.")
    facts = [re.compile(r"Happy \d+ %"), re.compile(r"Woman \d+ %"), re.compile(r"About \d+ \(\d+-\d+\)")]
    expect(result.locator(".facts dd")).to_have_text(facts)
    expect(result.locator(".bar")).to_have_count(7)
    expect(result.locator(".bar.highest dt")).to_have_text("Happy")
    shares = [int(re.sub(r"\D", "", text)) for text in result.locator(".share").all_text_contents()]
    assert 95 <= sum(shares) <= 105
    lengths = result.locator(".fill").evaluate_all(
        "bars => bars.map(bar => 100 * bar.offsetWidth / bar.parentElement.offsetWidth)"
    )
    assert lengths == pytest.approx(shares, abs=1.5)


def test_result_is_announced(page: Page, photo: Path) -> None:
    choose(page, photo)
    expect_astronaut(page.locator(".result"))
    announcement = re.compile(r"astronaut\.png: Found 1 face\. Face 1: \w+ \d+ %, \w+ \d+ %, about \d+")
    expect(page.get_by_role("log")).to_have_text(announcement)


def test_results_of_all_photos_are_announced(page: Page, note: Path) -> None:
    """Each for as long as a screen reader may take to come to it."""
    page.clock.install()
    page.reload()
    choose(page, note, note)
    expect_state(page.locator(".result").nth(1), "failed")
    announced = page.get_by_role("log").get_by_text("note.txt: This file is not an image")
    expect(announced).to_have_count(2)
    page.clock.run_for(30_000)
    expect(announced).to_have_count(2)
    page.clock.run_for(60_000)
    expect(page.get_by_role("log")).to_be_empty()


def test_portrait_shows_the_face(page: Page, photo: Path, tmp_path: Path) -> None:
    choose(page, photo)
    result = page.locator(".result")
    expect_astronaut(result)
    x, y, width, height = map(float, result.locator(".portrait").get_attribute("viewBox").split())
    assert width == height
    assert x < 224 < x + width  # the astronaut's nose is at about (224, 130)
    assert y < 130 < y + height
    result.locator(".portrait").screenshot(path=tmp_path / "portrait.png")
    center = pixels(tmp_path / "portrait.png")[25:50, 25:50].mean(axis=(0, 1))
    assert center[0] > center[2] + 20  # skin


def test_annotated_picture_can_be_downloaded(page: Page, photo: Path, tmp_path: Path) -> None:
    choose(page, photo)
    expect_astronaut(page.locator(".result"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download picture").click()
    assert download.value.suggested_filename == "astronaut-faces.jpg"
    download.value.save_as(tmp_path / "faces.jpg")
    change = np.abs(pixels(tmp_path / "faces.jpg") - pixels(photo)).sum(axis=2)
    assert 0.001 < (change > 150).mean() < 0.1  # the box and its label, nothing else


def test_annotated_picture_can_be_seen_alone(page: Page, photo: Path) -> None:
    choose(page, photo)
    result = page.locator(".result")
    expect_astronaut(result)
    with page.expect_popup() as opened:
        result.locator(".picture img").click()
    alone = opened.value
    assert alone.evaluate("() => document.images[0].naturalWidth") == 512
    alone.close()


def test_photo_can_be_dropped(page: Page, photo: Path) -> None:
    mouse = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(photo)], "dragOperationsMask": 1}
    veil = page.locator(".drop-veil")
    for event in ("dragEnter", "dragOver"):
        mouse.send("Input.dispatchDragEvent", {"type": event, "x": 40, "y": 700, "data": data})
    expect(veil).to_be_visible()
    mouse.send("Input.dispatchDragEvent", {"type": "drop", "x": 40, "y": 700, "data": data})
    expect(veil).to_be_hidden()
    expect_astronaut(page.locator(".result"))


def test_photo_can_be_pasted(page: Page, photo: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async (base64) => {
            const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
            const blob = new Blob([bytes], { type: "image/png" });
            await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }""",
        base64.b64encode(photo.read_bytes()).decode(),
    )
    page.keyboard.press("Control+V")
    expect_astronaut(page.locator(".result"))


def test_pasted_text_is_left_alone(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('hello')")
    page.keyboard.press("Control+V")
    expect(page.get_by_role("button", name="Choose photos")).to_be_visible()
    expect(page.locator(".result")).to_have_count(0)


def test_several_photos_are_answered_in_turn(page: Page, photo: Path, note: Path) -> None:
    exchanges: list[tuple[str, str]] = []
    page.on("request", lambda request: exchanges.append(("request", request.url)))
    page.on("response", lambda response: exchanges.append(("response", response.url)))
    choose(page, photo, note, photo)
    results = page.locator(".result")
    expect_astronaut(results.nth(2))
    expect_state(results.nth(1), "failed")
    expect_astronaut(results.nth(0))
    expect(results.locator(".name")).to_have_text(["astronaut.png", "note.txt", "astronaut.png"])
    assert [kind for kind, url in exchanges if url.endswith("/analyze")] == ["request", "response"] * 3


def test_later_photos_come_first(page: Page, photo: Path, note: Path) -> None:
    choose(page, note)
    expect_state(page.locator(".result"), "failed")
    choose(page, photo)
    expect(page.locator(".result .name")).to_have_text(["astronaut.png", "note.txt"])
    expect_astronaut(page.locator(".result").first)


def test_photo_without_a_face(page: Page, tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((400, 300)).save(tmp_path / "sky.png")
    choose(page, tmp_path / "sky.png")
    result = page.locator(".result")
    expect_state(result, "nothing")
    expect(result.locator(".status")).to_contain_text("no face")
    expect(result.locator(".download")).to_be_hidden()


def test_heic_without_a_preview(page: Page, astronaut: np.ndarray, tmp_path: Path) -> None:
    buffer = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(astronaut)).save(buffer, quality=90)
    (tmp_path / "IMG_0412.heic").write_bytes(buffer.getvalue())
    held: list[Route] = []
    page.route("**/analyze", lambda route: held.append(route))
    choose(page, tmp_path / "IMG_0412.heic")
    result = page.locator(".result")
    expect(result.locator(".no-preview")).to_be_visible()
    expect(result.locator(".status")).to_have_text("Sending the photo")
    wait_until_held(page, held).continue_()
    expect_astronaut(result)
    expect(result.locator(".no-preview")).to_be_hidden()


def test_text_file_is_refused_kindly(page: Page, note: Path) -> None:
    choose(page, note)
    result = page.locator(".result")
    expect_state(result, "failed")
    expect(result.locator(".status")).to_contain_text("not an image")
    expect(result.get_by_role("button", name="Try again")).to_be_hidden()
    with page.expect_file_chooser():
        result.get_by_role("button", name="Choose another photo").click()


def test_too_large_file_is_not_sent(page: Page, tmp_path: Path) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    choose(page, tmp_path / "large.jpg")
    result = page.locator(".result")
    expect_state(result, "failed")
    expect(result.locator(".status")).to_contain_text("20 MB")
    assert not any(url.endswith("/analyze") for url in sent)


def test_file_that_is_gone_when_its_turn_comes(page: Page, photo: Path, tmp_path: Path) -> None:
    gone = shutil.copy(photo, tmp_path / "gone.png")
    held: list[Route] = []
    page.route("**/analyze", lambda route: held.append(route))
    choose(page, photo, gone)
    first, second = page.locator(".result").all()
    request = wait_until_held(page, held)
    gone.unlink()
    request.continue_()
    expect_astronaut(first)
    expect_unreadable(second)
    assert len(held) == 1


def test_folder_can_not_be_read(page: Page, tmp_path: Path) -> None:
    mouse = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(tmp_path)], "dragOperationsMask": 1}
    for event in ("dragEnter", "drop"):
        mouse.send("Input.dispatchDragEvent", {"type": event, "x": 40, "y": 700, "data": data})
    expect_unreadable(page.locator(".result"))


def expect_unreadable(result: Locator) -> None:
    expect_state(result, "failed")
    expect(result.locator(".status")).to_have_text(
        "This file can't be read. Please choose it again, or another one."
    )
    expect(result.get_by_role("button", name="Try again")).to_be_hidden()


def test_lost_connection_is_waited_for(page: Page, photo: Path) -> None:
    page.route("**/analyze", lambda route: route.abort(), times=1)
    choose(page, photo)
    result = page.locator(".result")
    expect(result.locator(".status")).to_contain_text("connection")
    expect(result.locator(".detail")).to_contain_text("Trying again in")
    expect_astronaut(result)


def test_video_is_for_the_bot(page: Page, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(bytes(100))
    choose(page, tmp_path / "film.mp4")
    result = page.locator(".result")
    expect_state(result, "failed")
    expect(result.locator(".status")).to_contain_text("Videos are for the bot")


def test_busy_server_is_asked_again(page: Page, photo: Path) -> None:
    busy = {"status": 503, "headers": {"Retry-After": "2"}, "json": {"error": "I am busy."}}
    page.route("**/analyze", lambda route: route.fulfill(**busy), times=1)
    choose(page, photo)
    result = page.locator(".result")
    expect(result.locator(".status")).to_have_text("I am busy.")
    expect(result.locator(".detail")).to_contain_text("Trying again in")
    expect_astronaut(result)


def test_slow_upload_is_not_tried_again_unasked(page: Page, photo: Path) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    slow = {"status": 503, "json": {"error": replies.SLOW_UPLOAD}}
    page.route("**/analyze", lambda route: route.fulfill(**slow), times=1)
    choose(page, photo)
    result = page.locator(".result")
    expect_state(result, "failed")
    expect(result.locator(".status")).to_have_text(replies.SLOW_UPLOAD)
    assert sum(url.endswith("/analyze") for url in sent) == 1
    result.get_by_role("button", name="Try again").click()
    expect_astronaut(result)


def test_answer_of_the_platform_in_front(page: Page, photo: Path) -> None:
    error = {"status": 503, "content_type": "text/html", "body": "<h1>Application error</h1>"}
    page.route("**/analyze", lambda route: route.fulfill(**error), times=1)
    choose(page, photo)
    result = page.locator(".result")
    expect_state(result, "failed")
    expect(result.locator(".status")).to_contain_text("Something went wrong on my side")
    result.get_by_role("button", name="Try again").click()
    expect_astronaut(result)


def test_limit_of_the_platform_in_front(page: Page, photo: Path) -> None:
    """As nginx answers, whose own limit is a megabyte."""
    error = {"status": 413, "content_type": "text/html", "body": "<h1>413 Request Entity Too Large</h1>"}
    page.route("**/analyze", lambda route: route.fulfill(**error), times=1)
    choose(page, photo)
    result = page.locator(".result")
    expect(result.locator(".status")).to_have_text(
        "This file is too large for the server. Please choose a smaller one."
    )
    expect(result.get_by_role("button", name="Try again")).to_be_hidden()


def test_photo_waits_for_the_models(page: Page, photo: Path) -> None:
    starting = {"status": 503, "json": {"status": "starting", "models_ready": False}}
    page.route("**/healthz", lambda route: route.fulfill(**starting), times=1)
    page.reload()
    expect(page.locator("#starting")).to_be_visible()
    choose(page, photo)
    result = page.locator(".result")
    expect(result.locator(".status")).to_have_text("Waiting for the models to start")
    expect_astronaut(result)


def test_removing_a_photo_stops_its_analysis(page: Page, photo: Path) -> None:
    held: list[Route] = []
    page.route("**/analyze", lambda route: held.append(route), times=1)
    choose(page, photo, photo)
    results = page.locator(".result")
    expect(results.first.locator(".status")).to_have_text("Sending the photo")
    wait_until_held(page, held)
    with page.expect_event("requestfailed"):
        results.first.get_by_role("button", name="Remove astronaut.png").click()
    expect(results).to_have_count(1)
    expect_astronaut(results)


def test_keyboard_alone(page: Page, photo: Path) -> None:
    # Listening from here on: a key is faster than the interception that expect_file_chooser asks for.
    page.on("filechooser", lambda chooser: None)
    expect(page.get_by_role("link", name="Live")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Live")).to_be_focused()
    page.keyboard.press("Tab")
    chooser_input = page.locator("#photos")
    expect(chooser_input).to_be_focused()
    expect(page.locator("#choose")).to_have_css("outline-style", "solid")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photo)
    result = page.locator(".result")
    expect_astronaut(result)
    page.keyboard.press("Tab")
    expect(result.locator(".remove")).to_be_focused()
    page.keyboard.press("Tab")
    expect(result.locator(".whole")).to_be_focused()
    page.keyboard.press("Tab")
    expect(result.locator(".download")).to_be_focused()
    with page.expect_download():
        page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(result).to_have_count(0)
    expect(chooser_input).to_be_focused()


def test_phone_does_not_scroll_sideways(page: Page, photo: Path, note: Path, tmp_path: Path) -> None:
    page.set_viewport_size(PHONE)
    expect(page.locator("#limit")).to_contain_text("20 MB")
    assert sideways_scroll(page) == 0
    long_name = tmp_path / f"{'a' * 120}.txt"
    shutil.copy(note, long_name)
    choose(page, photo, long_name)
    results = page.locator(".result")
    expect_state(results.nth(1), "failed")
    expect_astronaut(results.nth(0))
    assert sideways_scroll(page) == 0
    expect(page.locator("#choose")).to_be_in_viewport()  # another photo, at any time


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_accessible(page: Page, photo: Path, note: Path, scheme: str, viewport: dict[str, int]) -> None:
    page.set_viewport_size(viewport)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator("#limit")).to_contain_text("20 MB")
    report = Axe().run(page)
    assert report.violations_count == 0, report.generate_report()
    choose(page, photo, note)
    expect_state(page.locator(".result").nth(1), "failed")
    report = Axe().run(page)
    assert report.violations_count == 0, report.generate_report()


def test_motion_can_be_switched_off(page: Page, photo: Path) -> None:
    page.emulate_media(reduced_motion="reduce")
    held: list[Route] = []
    page.route("**/analyze", lambda route: held.append(route))
    choose(page, photo)
    expect(page.locator(".status")).to_have_text("Sending the photo")
    assert page.evaluate("document.getAnimations().length") == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate("document.getAnimations().length") == 1
    wait_until_held(page, held).continue_()
    expect_astronaut(page.locator(".result"))


def test_telegram_link_only_with_a_bot(page: Page) -> None:
    link = page.get_by_role("link", name="Telegram bot")
    expect(page.locator("#version")).to_contain_text("Version")
    expect(link).to_be_hidden()
    about = {"bot": "some_bot", "live": False, "max_bytes": MAX_BYTES, "version": "1"}
    page.route("**/about", lambda route: route.fulfill(json=about))
    page.reload()
    expect(link).to_have_attribute("href", "https://t.me/some_bot")
    expect(page.get_by_role("link", name="Live")).to_be_hidden()


def test_live_link_only_where_it_is_open_to_all(page: Page) -> None:
    link = page.get_by_role("link", name="Live")
    expect(link).to_be_visible()
    about = page.request.get("/about").json() | {"live_open": False}
    page.route("**/about", lambda route: route.fulfill(json=about))
    page.reload()
    expect(page.locator("#version")).to_contain_text("Version")
    expect(link).to_be_hidden()


def test_colours_are_plain(page: Page) -> None:
    """Browsers of 2023 don't know light-dark(), and would show none of them."""
    sheets = [page.request.get(f"/page/{name}.css").text() for name in ("page", "dark", "live")]
    assert not any("light-dark(" in sheet for sheet in sheets)
    light, dark = [re.findall(r"(--[\w-]+): .*(?:#|rgb)", sheet) for sheet in sheets[:2]]
    assert light == dark


def test_rules_are_not_nested(page: Page) -> None:
    """Browsers of before autumn 2023 leave out rules within rules."""
    for name in ("page", "dark", "live"):
        sheet = re.sub(r"/\*.*?\*/", "", page.request.get(f"/page/{name}.css").text(), flags=re.DOTALL)
        around: list[str] = []
        for before, brace in re.findall(r"([^{};]*)([{};])", sheet):
            if brace == "{":
                assert all(rule.startswith("@") for rule in around), (around, before)
                around.append(before.strip())
            elif brace == "}":
                around.pop()
        assert not around


def test_security_policy_is_strict(browser: Browser, service) -> None:
    with browser.new_context(base_url=service.url) as context:
        page = context.new_page()
        lines: list[str] = []
        page.on("console", lambda line: lines.append(line.text))
        page.goto("/")
        page.evaluate("""() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'taken over'";
            document.head.append(script);
        }""")
        expect(page).to_have_title("Face Analytics")
        assert ["Content Security Policy" in line for line in lines] == [True]


def test_faces_are_counted_and_a_file_can_be_chosen_twice(
    page: Page, astronaut: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(np.hstack([astronaut[:300]] * 2)).save(tmp_path / "two.png")
    for _ in range(2):
        choose(page, tmp_path / "two.png")
    results = page.locator(".result")
    expect(results).to_have_count(2)
    expect_state(results.first, "found")
    expect(results.first.locator(".number")).to_have_text(["1", "2"])
    expect(page.get_by_role("log")).to_contain_text(re.compile(r"Face 1: .* Face 2: "))


def test_removed_photo_holds_up_no_other(page: Page, photo: Path) -> None:
    busy = {"status": 503, "headers": {"Retry-After": "60"}, "json": {"error": "I am busy."}}
    page.route("**/analyze", lambda route: route.fulfill(**busy), times=1)
    choose(page, photo, photo)
    results = page.locator(".result")
    expect(results.first.locator(".detail")).to_contain_text("Trying again in")
    results.first.get_by_role("button", name="Remove astronaut.png").click()
    expect(results).to_have_attribute("data-state", "found", timeout=40_000)  # before the minute is over


def test_photo_is_not_sent_for_ever(page: Page, photo: Path) -> None:
    sent = []
    busy = {"status": 429, "headers": {"Retry-After": "1"}, "json": {"error": "A lot."}}
    page.route("**/analyze", lambda route: (sent.append(route), route.fulfill(**busy)))
    page.clock.install()
    page.reload()
    choose(page, photo)
    for _ in range(14):
        page.wait_for_timeout(100)
        page.clock.run_for(1000)
    result = page.locator(".result")
    expect_state(result, "failed")
    assert len(sent) == 10
    expect(result.get_by_role("button", name="Try again")).to_be_visible()
