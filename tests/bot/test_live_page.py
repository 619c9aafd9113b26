"""The live page in a real browser, with a camera that shows a moving portrait, against the real service."""

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Download, Page, WebSocketRoute, expect, sync_playwright

from bot import replies
from inference.faces import EMOTIONS, BoundingBox
from inference.tracking import overlap
from tests.bot.test_page import ANSWER_SECONDS, DESKTOP, PHONE, QUIET, sideways_scroll

SMALL_PHONE = {"width": 360, "height": 640}
PICTURE = (640, 480)  # of the camera
GROUND = (96, 110, 120)  # behind the portrait
PORTRAIT_SIDE = 400
PORTRAIT_TOP = 40
FACE = np.array((181, 63, 85, 109)) * PORTRAIT_SIDE / 512  # in the portrait: x, y, width, height
HAPPY = (230, 159, 0)  # live/emotions.js
HAPPY_HUE = 21  # of OpenCV's 180; it survives a JPEG that mixes thin lines with their dark edges
INSECURE = "insecure.example"  # the service by another name, which is not as good as https, as localhost is
# Two cameras, and calls by name that wait, once they are held, until they are let go.
CAMERAS = """
    const devices = navigator.mediaDevices;
    const original = devices.getUserMedia.bind(devices);
    const held = {};
    window.tracks = [];
    window.hold = (name) => { held[name] = new Promise((resolve) => { window.letGo = resolve; }); };
    devices.enumerateDevices = async () => {
        await held.enumerateDevices;
        return ["one", "other"].map((deviceId) => ({ kind: "videoinput", deviceId }));
    };
    devices.getUserMedia = async () => {
        await held.getUserMedia;
        const stream = await original({ video: true });
        tracks.push(...stream.getTracks());
        return stream;
    };
"""
FACTS = [re.compile(r"Happy \d+ %"), re.compile(r"Woman \d+ %"), re.compile(r"About [23]\d \(\d+-\d+\)")]


@pytest.fixture(scope="module")
def browser(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """With a camera in front of which a portrait sways; whether a page may use it is up to its context."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (make programs installs Debian's)")
    camera = tmp_path_factory.mktemp("camera") / "portrait.mjpeg"
    portrait = Image.fromarray(astronaut).resize((PORTRAIT_SIDE, PORTRAIT_SIDE))
    with camera.open("wb") as video:
        for turn in np.linspace(0, 2 * np.pi, 180, endpoint=False):  # six seconds
            picture = Image.new("RGB", PICTURE, GROUND)
            picture.paste(portrait, (round(120 + 20 * np.sin(turn)), PORTRAIT_TOP))
            picture.save(video, "JPEG", quality=90)
    flags = (
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        f"--host-resolver-rules=MAP {INSECURE} 127.0.0.1",
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*QUIET, *flags], chromium_sandbox=False
        )
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, service, *, permissions: tuple[str, ...] = ("camera",), **options
) -> Iterator[Page]:
    """A page that is not yet anywhere; it may complain of nothing and ask no other server for anything."""
    with browser.new_context(viewport=DESKTOP, base_url=service.url, **options) as context:
        context.grant_permissions(list(permissions))
        page = context.new_page()
        complaints: list[str] = []
        asked: list[str] = []
        page.on("console", lambda line: complaints.append(line.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        yield page
    # The browser itself logs that there is no network, where a test wants none; the page handles it.
    assert [line for line in complaints if "net::ERR_INTERNET_DISCONNECTED" not in line] == []
    ports = {urlsplit(url).port for url in asked if not url.startswith("blob:")}
    assert ports == {urlsplit(service.url).port}


@pytest.fixture
def page(browser: Browser, service) -> Iterator[Page]:
    """For a test that does more than to look."""
    with opened(browser, service) as page:
        yield page


@pytest.fixture(scope="module")
def paused(browser: Browser, service) -> Iterator[Page]:
    """A page for all tests that leave it as they found it: its camera is on, but it sends nothing."""
    with opened(browser, service) as page:
        page.goto("/live")
        start(page)
        expect_face(page)
        page.locator("#pause").click()
        yield page


@pytest.fixture
def running(paused: Page) -> Iterator[Page]:
    """The same page while it goes on, with a face in sight."""
    paused.locator("#pause").click()
    expect_answers(paused)
    yield paused
    paused.locator("#pause").click()
    connection(paused, "paused")


def start(page: Page) -> None:
    page.get_by_role("button", name="Start the camera").click()


def expect_face(page: Page) -> None:
    expect(page.locator("#faces .face")).to_have_count(1, timeout=ANSWER_SECONDS * 1000)


def expect_answers(page: Page) -> None:
    """Return once there are more readings."""
    before = page.locator("#kept").text_content()
    expect(page.locator("#kept")).not_to_have_text(before, timeout=ANSWER_SECONDS * 1000)


def tell_again(page: Page) -> None:
    """Return once the page has told anew what it knows, as it does every half a second by its own clock."""
    page.evaluate("() => new Promise((told) => setTimeout(told, 510))")


def connection(page: Page, name: str) -> None:
    expect(page.locator("#pill")).to_have_attribute("data-connection", name, timeout=ANSWER_SECONDS * 1000)


def module(page: Page, name: str, script: str, argument=None):
    """What a script in the page makes of one of its modules."""
    return page.evaluate(
        f"async (argument) => {{ const its = await import('/page/live/{name}.js'); {script} }}", argument
    )


def decoded(url: str) -> np.ndarray:
    """A data URL's picture as RGBA."""
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.asarray(picture.convert("RGBA"))


def glance(page: Page) -> tuple[np.ndarray, np.ndarray]:
    """Paused for a moment: in the picture's pixels, where the face is and the box over it."""
    expect_answers(page)  # a box goes where a face is not seen for a moment, on a busy machine
    page.keyboard.press("Space")
    picture, overlay = page.evaluate(
        """() => {
            const picture = document.createElement("canvas");
            [picture.width, picture.height] = [video.videoWidth, video.videoHeight];
            picture.getContext("2d").drawImage(video, 0, 0);
            return [picture.toDataURL(), overlay.toDataURL()];
        }"""
    )
    page.keyboard.press("Space")
    overlay = decoded(overlay)
    scale = PICTURE[0] / overlay.shape[1]
    return face_in(decoded(picture)[..., :3]), box_in(overlay[..., :3]) * scale


def face_in(picture: np.ndarray) -> np.ndarray:
    """The face, which is where the portrait is: x, y, width, height."""
    assert picture.shape == (PICTURE[1], PICTURE[0], 3)
    other = np.abs(picture[300].astype(int) - GROUND).sum(axis=1) > 60
    left = np.flatnonzero(other)[0]
    return FACE + (left, PORTRAIT_TOP, 0, 0)


def box_in(picture: np.ndarray, place: int = 0) -> np.ndarray:
    """The largest thing drawn in the colour of happiness, the box, or of the next, its label."""
    hue, saturation, value = cv2.split(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2HSV))
    drawn = (np.abs(hue.astype(int) - HAPPY_HUE) <= 4) & (saturation > 180) & (value > 140)
    _, _, stats, _ = cv2.connectedComponentsWithStats(drawn.astype(np.uint8))
    return sorted(stats[1:], key=lambda part: part[2] * part[3])[-1 - place][:4]


def mirrored(box: np.ndarray) -> np.ndarray:
    x, y, width, height = box
    return np.array((PICTURE[0] - x - width, y, width, height))


def shared(one: np.ndarray, other: np.ndarray) -> float:
    return overlap(BoundingBox(*one), BoundingBox(*other))


def saved(page: Page, name: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return Path(download.value.path()).read_bytes()


def test_box_follows_the_face(running: Page) -> None:
    overlaps = [shared(mirrored(face), box) for face, box in (glance(running) for _ in range(3))]
    assert np.median(overlaps) > 0.6
    running.keyboard.press("m")
    overlaps = [shared(*glance(running)) for _ in range(3)]
    assert np.median(overlaps) > 0.6
    running.keyboard.press("m")


def test_face_is_told(running: Page) -> None:
    expect(running.locator(".facts dd")).to_have_text(FACTS)
    expect(running.locator(".bar")).to_have_count(len(EMOTIONS))
    expect(running.locator(".bar.highest dt")).to_have_text("Happy")
    expect(running.locator(".bar.highest .fill")).to_have_css(
        "transform", re.compile(r"matrix\((0\.9\d*|1), ")
    )
    expect(running.get_by_role("log")).to_have_text(
        re.compile(r"Face \d+: happy, woman, about [23]\d\."), timeout=10_000
    )


def test_rows_can_be_saved(running: Page) -> None:
    expect(running.locator("#kept")).to_have_text(re.compile(r"^([3-9]|\d[\d,]+) readings since"))
    rows = list(csv.DictReader(io.StringIO(saved(running, "Save CSV").decode())))
    assert len(rows) >= 3
    for row in rows:
        shares = [float(row[emotion]) for emotion in EMOTIONS]
        assert sum(shares) == pytest.approx(1, abs=0.001)
        assert max(shares) == float(row["happy"])
        assert row["gender"] == "female"
        assert float(row["gender_probability"]) > 0.7
        assert float(row["age_low"]) < float(row["age"]) < float(row["age_high"])
        assert 20 < float(row["age"]) < 40
    times = [datetime.fromisoformat(row["time"]) for row in rows]
    assert times == sorted(times)
    assert len(set(times)) >= 3
    objects = json.loads(saved(running, "Save JSON"))
    assert [{name: str(value) for name, value in row.items()} for row in objects[: len(rows)]] == rows


def test_snapshot(running: Page) -> None:
    """As on the screen: the box over the mirrored face, and words that are not mirrored."""
    snapshot = np.asarray(Image.open(io.BytesIO(saved(running, "Snapshot"))))
    running.keyboard.press("m")
    expect_answers(running)
    plain = np.asarray(Image.open(io.BytesIO(saved(running, "Snapshot"))))
    running.keyboard.press("m")
    assert shared(face_in(plain), box_in(plain)) > 0.5
    assert shared(mirrored(face_in(snapshot[:, ::-1])), box_in(snapshot)) > 0.5
    words, same = (cut(picture, box_in(picture, 1)).astype(float) for picture in (snapshot, plain))
    assert correlation(words, same) > correlation(words[:, ::-1], same) + 0.2


def cut(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    x, y, width, height = box
    return cv2.resize(picture[y : y + height, x : x + width].mean(axis=2), (200, 30))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def test_last_minute(running: Page) -> None:
    expect(running.locator("#tale")).to_have_text(re.compile(r"^Face \d+: happy \d+\s%"))
    running.wait_for_timeout(2000)  # in which the chart grows beyond the part that is looked at
    chart = decoded(running.evaluate("timeline.toDataURL()"))
    newest = chart[:, -20:-10]
    assert (np.abs(newest[..., :3].astype(int) - HAPPY).sum(axis=2) < 20).mean() > 0.9
    assert (chart[:, 10:20, 3] == 0).all()  # a minute ago there was nothing


def test_pause_and_going_on(running: Page) -> None:
    running.locator("#overlay").click()  # the focus is nowhere
    running.keyboard.press("Space")
    connection(running, "paused")
    tell_again(running)
    before = running.locator("#kept").text_content()
    box = running.evaluate("overlay.toDataURL()")
    running.wait_for_timeout(600)
    assert running.evaluate("overlay.toDataURL()") == box  # stays over the face that stays, too
    expect(running.locator("#kept")).to_have_text(before)
    running.keyboard.press("Space")
    expect_answers(running)


def test_two_tabs_at_once(running: Page, page: Page) -> None:
    page.goto("/live")
    start(page)
    expect_face(page)
    expect(page.locator(".facts dd")).to_have_text(FACTS)
    expect_answers(running)
    # The two are as many as one address may have.
    third = page.context.new_page()
    third.goto("/live")
    start(third)
    connection(third, "waiting")
    expect(third.locator("#notice")).to_contain_text(replies.LIVE_REFUSALS["busy"])
    expect(third.locator("#notice")).to_contain_text(re.compile(r"Trying again in \d s"))


def test_connection_lost(running: Page) -> None:
    expect(running.locator("#notice")).not_to_have_text("Saved.")  # it hides what else there is to say
    running.context.set_offline(True)
    connection(running, "lost")
    expect(running.locator("#notice")).to_contain_text("The connection is lost. Trying again in")
    running.context.set_offline(False)
    connection(running, "live")
    expect_answers(running)
    expect_face(running)


@pytest.mark.parametrize(
    "viewport", [SMALL_PHONE, {"width": 640, "height": 360}], ids=["upright", "sideways"]
)
def test_everything_in_reach(running: Page, viewport: dict[str, int]) -> None:
    running.set_viewport_size(viewport)
    running.evaluate("scrollTo(0, 0)")
    assert sideways_scroll(running) == 0
    for name in ("Pause", "Mirror", "Full screen", "Snapshot", "Stop"):
        expect(running.get_by_role("button", name=name)).to_be_in_viewport(ratio=0.9)
    running.keyboard.press("f")
    connection(running, "live")
    expect(running.locator("#faces .face")).to_have_count(1)  # one that was lost is listed a while longer
    expect(running.locator("#faces .face")).to_be_in_viewport()
    expect(running.get_by_role("button", name="Stop")).to_be_in_viewport(ratio=1)
    running.keyboard.press("f")
    expect(running.locator("#live")).not_to_have_class("full")
    running.set_viewport_size(DESKTOP)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(paused: Page, scheme: str) -> None:
    paused.emulate_media(color_scheme=scheme)
    report = Axe().run(paused)
    assert report.violations_count == 0, report.generate_report()


def test_motion_can_be_switched_off(paused: Page) -> None:
    script = """
        const faces = new its.Faces();
        const answer = (x) => ({ width: 100, height: 100, faces: [{ number: 1, box: [x, 0, 10, 10] }] });
        const seen = (now, still) => faces.visible(now, still).map((face) => [face.box.x, face.opacity]);
        faces.take(answer(0), 0, 0);
        const shown = [seen(0.1, argument)];
        faces.take(answer(10), 0.1, 0.1);
        shown.push(seen(0.11, argument), seen(0.2, argument));
        faces.take({ width: 100, height: 100, faces: [] }, 0.2, 0.2);
        return [...shown, seen(0.25, argument), seen(0.6, argument)];
    """
    still = module(paused, "faces", script, True)
    assert still == [[[0, 1]], [[pytest.approx(0.1), 1]], [[pytest.approx(0.1), 1]], [], []]
    (_, ((early, _),), ((late, _),), ((_, fading),), gone) = module(paused, "faces", script, False)
    assert 0 < early < 0.1 < late < 0.3  # on its way, and ahead by the time that the answer took
    assert 0.7 < fading < 0.9
    assert gone == []


def test_frames_keep_to_what_the_server_takes(paused: Page) -> None:
    script = """
        const pace = new its.Pace({ side: 640, max_bytes: 1000, frames_a_second: 10 });
        const sizes = [[pace.side, pace.inFlight]];
        let now = 0;
        for (const milliseconds of argument) {
            pace.sent(now);
            if (pace.next < now + 100) throw new Error("too fast");
            now += milliseconds;
            pace.answered({ type: "faces", milliseconds: 40 }, now - milliseconds, now);
            sizes.push([pace.side, pace.inFlight]);
        }
        const fits = pace.fits(1001);
        pace.answered({ type: "skipped" }, now, now);
        pace.answered({ type: "skipped" }, now, now);
        return [sizes, fits, pace.next - now];
    """
    sizes, fits, rest = module(paused, "pace", script, [60] * 5 + [900] * 20 + [60] * 400)
    assert sizes[0] == sizes[5] == [640, 1]
    assert sizes[25] == [240, 2]  # smaller on a slow line, and two under way
    assert sizes[-1] == [640, 1]  # as before, some time after it is fast again
    assert fits is False
    assert rest == 300  # twice as long after each skipped frame


def test_memory_is_bounded(paused: Page) -> None:
    script = """
        const session = new its.Session();
        const probabilities = Object.fromEntries(argument.map((emotion) => [emotion, 1 / 7]));
        const face = { number: 1, emotion: { probabilities }, gender: { label: "male", probability: 0.9 },
            age: { years: 30, low: 25, high: 35 } };
        for (let second = 0; second < 7200; second += 1) session.add([face], second * 1000);
        const hour = [session.rows.length, session.rows[0][0] / 1000];
        const crowd = Array(1000).fill(face);
        for (let more = 0; more < 300; more += 1) session.add(crowd, 7_200_000 + more);
        return [...hour, session.rows.length, session.since(60, 7_200_000).length > 60];
    """
    length, first, crowded, recent = module(paused, "session", script, list(EMOTIONS))
    assert 3600 <= length <= 3790
    assert first >= 3400
    assert crowded <= 210_000
    assert recent


def test_rows_of_women_and_men(paused: Page) -> None:
    script = """
        const probabilities = Object.fromEntries(argument.map((emotion) => [emotion, 1 / 7]));
        const face = (number, label, probability) => ({ number, emotion: { probabilities },
            gender: { label, probability }, age: { years: 30, low: 25, high: 35 } });
        const session = new its.Session();
        session.add([face(1, "male", 0.9), face(2, "female", 0.8)], 1000);
        return session.csv();
    """
    rows = csv.DictReader(io.StringIO(module(paused, "session", script, list(EMOTIONS))))
    assert [(row["gender"], row["gender_probability"]) for row in rows] == [
        ("male", "0.9"),
        ("female", "0.8"),
    ]


def test_labels_cover_no_face(paused: Page) -> None:
    script = """
        const frames = [{ x: 10, y: 30, width: 40, height: 50 }, { x: 55, y: 30, width: 40, height: 50 },
            { x: 0, y: 0, width: 200, height: 200 }];
        const sizes = frames.map(() => [[100, 16], [50, 16], [15, 16]]);
        const two = its.place(frames.slice(0, 2), sizes, 200, 100, 2);
        return [two, its.place(frames.slice(2), sizes, 200, 200, 2)];
    """
    (first, second), (inside,) = module(paused, "overlay", script)
    assert first["variant"] == second["variant"] == 0
    assert {first["y"], second["y"]} == {12, 82}  # above and below, as above both there is room for one alone
    assert (inside["variant"], inside["x"], inside["y"]) == (2, 0, 0)


def test_each_face_has_its_number_before_one_has_more_words(paused: Page) -> None:
    # Both only have room above, where the words of one would take the room of the other's number.
    script = """
        const frames = [{ x: 0, y: 30, width: 40, height: 70 }, { x: 60, y: 30, width: 40, height: 70 }];
        return its.place(frames, frames.map(() => [[100, 16], [50, 16], [15, 16]]), 100, 100, 2);
    """
    spots = module(paused, "overlay", script)
    assert [spot["variant"] for spot in spots] == [1, 2]


def test_labels_do_not_change_as_boxes_tremble(paused: Page) -> None:
    script = """
        const sizes = [[[100, 16], [50, 16], [15, 16]], [[100, 16], [50, 16], [15, 16]]];
        let spots = [];
        return argument.map((x) => {
            const frames = [{ x: 0, y: 30, width: 60, height: 70 }, { x, y: 0, width: 60, height: 100 }];
            spots = its.place(frames, sizes, 300, 100, 4, spots);
            return spots[0].variant;
        });
    """
    # The first label ends at 100. It comes once a gap is left, and stays while it covers nothing.
    seen = module(paused, "overlay", script, [99, 103, 105, 101, 100, 99, 101, 103, 105])
    assert seen == [1, 1, 0, 0, 0, 1, 1, 1, 0]


def test_emotions_of_many_are_one_bar_each(paused: Page) -> None:
    script = """
        const list = document.createElement("ol");
        list.className = "faces";
        document.getElementById("live").append(list);
        const face = (number) => ({ number, text: "happy 75 %, woman 90 %, about 30 (25-35)",
            emotion: { label: "happy", probabilities: argument } });
        const sizes = [2, 3].map((many) => {
            new its.Cards(list).show(Array.from({ length: many }, (_, index) => face(index + 1)));
            const sides = [...list.children].map((card) => card.offsetHeight);
            const fills = [...list.firstChild.querySelectorAll(".fill")];
            const bars = fills.map((fill) => fill.getBoundingClientRect());
            const words = list.firstChild.querySelector(".chart").innerText.replace(/\\s+/g, " ").trim();
            list.replaceChildren();
            return [sides, bars.map(({ left, right, top }) => [left, right, top]), words];
        });
        list.remove();
        return sizes;
    """
    shares = dict.fromkeys(EMOTIONS, 0.0) | {"happy": 0.75, "sad": 0.25}
    (large, beneath, words), (small, beside, same) = module(paused, "cards", script, shares)
    assert len(large) == 2
    assert len(small) == 3
    assert sum(small) < max(large) * 2
    assert len({top for *_, top in beneath}) == len(EMOTIONS)
    assert len({top for *_, top in beside}) == 1
    widths = [right - left for left, right, _ in beside]
    assert np.array(widths) / sum(widths) == pytest.approx(list(shares.values()), abs=0.01)
    assert words == same == "Angry 0 % Disgust 0 % Fear 0 % Happy 75 % Sad 25 % Surprise 0 % Neutral 0 %"


def test_camera_refused_and_allowed(browser: Browser, service) -> None:
    with opened(browser, service, permissions=()) as page:
        page.set_viewport_size(SMALL_PHONE)
        page.emulate_media(color_scheme="dark")
        page.goto("/live")
        start(page)
        expect(page.get_by_role("heading", name="No camera")).to_be_visible()
        expect(page.locator("#message")).to_contain_text("not allowed for this page")
        expect(page.get_by_role("log")).to_contain_text("not allowed for this page")
        assert sideways_scroll(page) == 0
        report = Axe().run(page)
        assert report.violations_count == 0, report.generate_report()
        page.context.grant_permissions(["camera"])
        page.get_by_role("button", name="Try again").click()
        expect_face(page)


def test_camera_with_other_troubles(page: Page) -> None:
    page.goto("/live")
    failing = "(name) => { navigator.mediaDevices.getUserMedia = () => Promise.reject({ name }); }"
    for name, words in ("NotFoundError", "no camera"), ("NotReadableError", "in use"), ("Odd", "try again"):
        page.evaluate(failing, name)
        page.locator("#start").click()
        expect(page.locator("#message")).to_contain_text(words)
    page.goto(f"http://{INSECURE}:{urlsplit(page.url).port}/live")
    start(page)
    expect(page.locator("#message")).to_contain_text("by https")


def test_other_camera(page: Page) -> None:
    """A phone's: front and back take turns, and only the front one is mirrored."""
    page.add_init_script(
        """
        const devices = navigator.mediaDevices;
        const original = devices.getUserMedia.bind(devices);
        devices.enumerateDevices = async () => Array(2).fill({ kind: "videoinput" });
        devices.getUserMedia = async (wish) => {
            const stream = await original({ video: true });
            const { facingMode } = wish.video;
            stream.getVideoTracks()[0].getSettings = () => ({ facingMode, deviceId: facingMode });
            return stream;
        };
        """
    )
    page.set_viewport_size(SMALL_PHONE)
    page.goto("/live")
    start(page)
    mirror = page.get_by_role("button", name="Mirror")
    expect(mirror).to_have_attribute("aria-pressed", "true")
    assert sideways_scroll(page) == 0  # with one button more
    page.get_by_role("button", name="Switch").click()
    expect(mirror).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Switch").click()
    expect(mirror).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("heading", name="The camera is off")).to_be_visible()
    assert page.evaluate("video.srcObject") is None


def test_other_camera_that_faces_nowhere(page: Page) -> None:
    """A laptop's own camera says that it faces its user, and the one plugged in says nothing."""
    page.add_init_script(CAMERAS)
    page.add_init_script(
        """
        const plain = navigator.mediaDevices.getUserMedia;
        window.opened = [];
        navigator.mediaDevices.getUserMedia = async (wish) => {
            const stream = await plain();
            const deviceId = wish.video.deviceId?.exact ?? "one";
            const settings = deviceId === "one" ? { deviceId, facingMode: "user" } : { deviceId };
            stream.getVideoTracks()[0].getSettings = () => settings;
            opened.push(deviceId);
            return stream;
        };
        """
    )
    page.goto("/live")
    start(page)
    switch = page.get_by_role("button", name="Switch")
    for cameras in (["one"], ["one", "one", "other"], ["one", "one", "other", "one"]):
        page.wait_for_function("count => opened.length === count && video.readyState > 1", arg=len(cameras))
        assert page.evaluate("opened") == cameras
        switch.click()


@pytest.mark.parametrize("late", ["getUserMedia", "enumerateDevices"])
def test_stopped_while_the_other_camera_opens(page: Page, late: str) -> None:
    page.add_init_script(CAMERAS)
    page.goto("/live")
    start(page)
    switch = page.get_by_role("button", name="Switch")
    expect(switch).to_be_visible()
    page.evaluate("hold", late)
    switch.click()
    switch.click()  # once more is as good as once
    page.get_by_role("button", name="Stop").click()
    page.evaluate("letGo()")
    page.wait_for_timeout(1000)  # for a camera to open
    assert page.evaluate("tracks.map((track) => track.readyState)") == ["ended"] * (
        2 if late == "getUserMedia" else 1
    )
    assert page.evaluate("video.srcObject") is None
    expect(page.get_by_role("heading", name="The camera is off")).to_be_visible()


def test_snapshot_while_the_other_camera_opens(page: Page) -> None:
    """There is no picture then."""
    page.add_init_script(CAMERAS)
    page.goto("/live")
    start(page)
    switch = page.get_by_role("button", name="Switch")
    expect(switch).to_be_visible()
    page.evaluate("hold", "getUserMedia")
    switch.click()
    page.wait_for_function("() => video.videoWidth === 0")
    page.get_by_role("button", name="Snapshot").click()
    expect(page.locator("#notice")).to_have_text("There is no picture yet.")
    page.evaluate("letGo()")


def test_paused_while_the_other_camera_opens(page: Page) -> None:
    page.add_init_script(CAMERAS)
    page.goto("/live")
    start(page)
    connection(page, "live")
    page.evaluate(
        """video.addEventListener("loadstart", () => {  // it is not playing yet
            if (video.srcObject && document.body.dataset.state === "running") pause.click();
        })"""
    )
    page.get_by_role("button", name="Switch").click()
    connection(page, "paused")
    page.wait_for_timeout(1000)  # for a camera to open
    page.get_by_role("button", name="Go on").click()
    expect_face(page)
    expect_answers(page)


def test_other_camera_fails(page: Page) -> None:
    """The one that worked can be had again."""
    page.add_init_script(CAMERAS)
    page.goto("/live")
    start(page)
    page.evaluate(
        """() => {
            const working = navigator.mediaDevices.getUserMedia;
            navigator.mediaDevices.getUserMedia = (wish) =>
                wish.video.deviceId ? Promise.reject({ name: "OverconstrainedError" }) : working(wish);
        }"""
    )
    page.get_by_role("button", name="Switch").click()
    expect(page.get_by_role("heading", name="No camera")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    connection(page, "live")


def test_camera_unplugged_while_it_opens(page: Page) -> None:
    page.add_init_script(CAMERAS)
    page.goto("/live")
    page.evaluate("hold", "enumerateDevices")
    start(page)
    page.wait_for_timeout(1000)  # for it to open
    page.evaluate("tracks[0].dispatchEvent(new Event('ended'))")
    page.evaluate("letGo()")
    page.wait_for_timeout(300)
    expect(page.locator("#message")).to_contain_text("unplugged")
    expect(page.get_by_role("heading", name="No camera")).to_be_visible()


def answering(*turns: Callable[[WebSocketRoute], object]) -> Callable[[WebSocketRoute], None]:
    """What to do with each connection in turn, and with all that follow."""
    left = list(turns)
    return lambda socket: (left.pop(0) if len(left) > 1 else left[0])(socket)


def refused(reason: str, code: int) -> Callable[[WebSocketRoute], None]:
    def refuse(socket: WebSocketRoute) -> None:
        words = {"reason": reason, "text": replies.LIVE_REFUSALS[reason], "retry_after": 1}
        socket.send(json.dumps({"type": "refused"} | words))
        socket.close(code=code)

    return refuse


def test_server_gone_and_back(page: Page) -> None:
    connected: list[WebSocketRoute] = []

    def real(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        connected.append(socket)

    def gone(socket: WebSocketRoute) -> None:
        socket.close(code=1011)

    page.route_web_socket("**/live/stream", answering(gone, refused("starting", 1013), real))
    page.goto("/live")
    # Noted by the page itself, as some stay for a second only, in which nobody may come to look.
    page.evaluate(
        """() => {
            window.told = [];
            const note = () => {
                const name = pill.dataset.connection;
                if (told.at(-1)?.[0] !== name) told.push([name, notice.textContent]);
            };
            new MutationObserver(note).observe(pill, { attributeFilter: ["data-connection"] });
        }"""
    )
    start(page)
    expect_face(page)
    connected[0].close(code=1012)
    # Numbers go on, since nobody can tell whether it is the same person.
    expect(page.locator("#faces .number")).to_have_text(["2"], timeout=ANSWER_SECONDS * 1000)
    told = [each for each in page.evaluate("told") if each[0] not in ("closed", "connecting")]
    assert [name for name, _ in told] == ["lost", "waiting", "live", "lost", "live"]
    assert replies.LIVE_REFUSALS["starting"] in told[1][1]


def welcoming(frames: list[bytes], answer: dict | None) -> Callable[[WebSocketRoute], None]:
    """A server that has but one answer to all frames, or none."""

    def take(socket: WebSocketRoute, message: str | bytes) -> None:
        if isinstance(message, str):
            welcome = {"type": "welcome", "side": 320, "max_bytes": 200_000, "frames_a_second": 15}
            socket.send(json.dumps(welcome))
            return
        frames.append(message)
        if answer:
            socket.send(json.dumps(answer))

    return lambda socket: socket.on_message(lambda message: take(socket, message))


def test_photos_go_first(page: Page) -> None:
    frames: list[bytes] = []
    skipped = {"type": "skipped", "text": replies.FRAME_SKIPPED}
    page.route_web_socket("**/live/stream", welcoming(frames, skipped))
    page.goto("/live")
    start(page)
    expect(page.locator("#notice")).to_have_text(replies.FRAME_SKIPPED)
    assert {Image.open(io.BytesIO(frame)).size for frame in frames} == {(320, 240)}
    assert len(frames) <= 10  # fewer and fewer


def telling(*emotions: str) -> dict:
    """An answer of the server, with men who look like that."""
    share = dict.fromkeys(EMOTIONS, 0.1)
    faces = [
        {
            "number": number,
            "box": [60 * number, 50, 40, 40],
            "emotion": {"label": emotion, "probabilities": share | {emotion: 0.4}},
            "gender": {"label": "male", "probability": 0.9},
            "age": {"years": 30, "low": 25, "high": 35},
            "text": f"{emotion} 40 %, man 90 %, about 30 (25-35)",
        }
        for number, emotion in enumerate(emotions, 1)
    ]
    return {"type": "faces", "width": 320, "height": 240, "milliseconds": 5, "faces": faces}


def test_nobody_in_sight_is_told(page: Page) -> None:
    page.route_web_socket("**/live/stream", welcoming([], telling()))
    page.goto("/live")
    start(page)
    expect(page.locator("#notice")).to_contain_text("No face yet", timeout=ANSWER_SECONDS * 1000)


def test_last_minute_of_either_of_two(page: Page) -> None:
    page.route_web_socket("**/live/stream", welcoming([], telling("happy", "sad")))
    page.goto("/live")
    start(page)
    expect(page.locator("#faces .number")).to_have_text(["1", "2"])
    expect(page.locator("#tale")).to_contain_text("Face 1: happy")
    page.locator("#who label").filter(has_text="Face 2").click()
    expect(page.locator("#tale")).to_contain_text("Face 2: sad")
    page.wait_for_timeout(1200)  # in which it is written anew
    expect(page.locator("#tale")).to_contain_text("Face 2: sad")


def test_attempts_become_rarer(page: Page) -> None:
    page.route_web_socket("**/live/stream", lambda socket: socket.close(code=1011))
    page.clock.install()
    page.goto("/live")
    start(page)
    for seconds in (1, 2, 4):
        expect(page.locator("#notice")).to_contain_text(f"Trying again in {seconds} s")
        page.clock.run_for(seconds * 1000)


def test_nothing_connects_while_paused(page: Page) -> None:
    attempts: list[WebSocketRoute] = []

    def take(socket: WebSocketRoute) -> None:
        attempts.append(socket)
        socket.connect_to_server()

    page.route_web_socket("**/live/stream", take)
    page.goto("/live")
    start(page)
    expect_face(page)
    page.locator("#pause").click()
    attempts[0].close(code=1000)
    page.wait_for_timeout(2500)
    assert len(attempts) == 1
    page.locator("#pause").click()
    expect_answers(page)


def test_full_screen_where_a_page_may_not_have_it(page: Page) -> None:
    """As on an iPhone."""
    page.goto("/live")
    start(page)
    connection(page, "live")
    page.evaluate("() => { live.requestFullscreen = () => Promise.reject(new Error()); }")
    page.keyboard.press("f")
    expect(page.locator("#live")).to_have_class(re.compile("full"))
    assert page.evaluate("document.querySelector('header').inert")
    page.keyboard.press("Escape")
    expect(page.locator("#live")).not_to_have_class(re.compile("full"))
    assert not page.evaluate("document.querySelector('header').inert")
    with page.expect_download():
        page.keyboard.press("s")


def test_silent_server_is_given_up(page: Page) -> None:
    frames: list[bytes] = []
    page.route_web_socket("**/live/stream", welcoming(frames, None))
    page.clock.install()
    page.goto("/live")
    start(page)
    connection(page, "live")
    page.wait_for_timeout(300)
    assert len(frames) == 1
    page.clock.fast_forward(10_000)
    connection(page, "lost")


def hide(page: Page, hidden: bool = True) -> None:
    page.evaluate(
        """(value) => {
            Object.defineProperty(document, "hidden", { value, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_out_of_sight(page: Page) -> None:
    answers: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: answers.append(frame)))
    page.add_init_script(  # as Chromium tells of no Blob that is sent
        """
        const original = WebSocket.prototype.send;
        window.sent = 0;
        WebSocket.prototype.send = function (data) {
            sent += 1;
            original.call(this, data);
        };
        """
    )
    page.clock.install()
    page.goto("/live")
    start(page)
    expect_face(page)
    hide(page)
    before = page.evaluate("sent")
    while len(answers) < before:  # the last ones come in
        page.wait_for_timeout(20)
    page.clock.fast_forward(3_000)
    page.wait_for_timeout(500)
    assert len(answers) == page.evaluate("sent") == before > 1
    page.clock.fast_forward(20_000)
    expect(page.locator("#message")).to_contain_text("out of sight")
    assert page.evaluate("video.srcObject") is None
    expect(page.get_by_role("button", name="Save CSV")).to_be_visible()


def test_back_in_sight(page: Page) -> None:
    """Phones may have paused the picture meanwhile."""
    page.goto("/live")
    start(page)
    expect_face(page)
    hide(page)
    page.evaluate("video.pause()")
    hide(page, False)
    expect_answers(page)
    assert page.evaluate("video.paused") is False


@pytest.mark.parametrize("paused", [False, True])
def test_out_of_sight_while_the_camera_opens(page: Page, paused: bool) -> None:
    """Or, paused, while its picture begins to move again."""
    frames: list[bytes] = []
    page.add_init_script(CAMERAS)
    page.route_web_socket("**/live/stream", welcoming(frames, {"type": "skipped", "text": ""}))
    page.clock.install()
    page.goto("/live")
    if paused:
        start(page)
        connection(page, "live")
        page.locator("#pause").click()
        page.evaluate("() => { video.play = () => new Promise((resolve) => { window.letGo = resolve; }); }")
        page.locator("#pause").click()
    else:
        page.evaluate("hold", "getUserMedia")
        start(page)
    hide(page)
    before = len(frames)
    page.evaluate("letGo()")
    connection(page, "live")
    page.wait_for_timeout(500)
    assert len(frames) == before
    page.clock.fast_forward(20_000)
    expect(page.locator("#message")).to_contain_text("out of sight")
    assert page.evaluate("tracks.map((track) => track.readyState)") == ["ended"]


def test_last_minute_stays(page: Page) -> None:
    """As it was when the last frame was looked at, while there are no more."""
    page.clock.install()
    page.goto("/live")
    start(page)
    expect_face(page)
    tale = page.locator("#tale")
    expect(tale).to_have_text(re.compile(r"^Face \d+: happy"))
    page.wait_for_timeout(2000)  # of one reading alone the chart has nothing to show
    for name in "Pause", "Stop":
        page.get_by_role("button", name=name).click()
        page.clock.fast_forward(90_000)
        page.wait_for_timeout(600)  # the next time that it is told
        expect(tale).to_have_text(re.compile(r"^Face \d+: happy"))
        chart = decoded(page.evaluate("timeline.toDataURL()"))
        assert chart[-5, -5:, 3].any()


def test_inside_telegram(page: Page) -> None:
    """Its theme is put on, and what it says of the user is sent and, here, not believed."""
    theme = {
        "bg_color": "#17212b",
        "secondary_bg_color": "#232e3c",
        "text_color": "#f5f5f5",
        "hint_color": "#708499",  # which can't be read on that ground
        "button_color": "#5288c1",
        "button_text_color": "#ffffff",
    }
    init_data = "user=%7B%22id%22%3A1%7D&auth_date=1&hash=ab"
    sent: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    page.emulate_media(color_scheme="light")
    fragment = {"Data": init_data, "Version": "8.0", "ThemeParams": json.dumps(theme)}
    page.goto("/live#" + "&".join(f"tgWebApp{name}={quote(value)}" for name, value in fragment.items()))
    expect(page.locator("body")).to_have_css("background-color", "rgb(35, 46, 60)")
    expect(page.locator("body")).to_have_css("color", "rgb(245, 245, 245)")
    expect(page.locator(".limits").first).to_have_css("color", "rgb(159, 176, 174)")  # our own
    expect(page.get_by_role("heading", name="Face Analytics")).to_be_visible()
    expect(page.get_by_role("link", name="Photos")).to_be_hidden()
    report = Axe().run(page)
    assert report.violations_count == 0, report.generate_report()
    start(page)
    expect(page.locator("#message")).to_have_text(replies.LIVE_REFUSALS["unknown"])
    assert json.loads(sent[0]) == {"init_data": init_data}
    assert page.evaluate("video.srcObject") is None


def test_light_theme_of_telegram_on_a_dark_device(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    theme = quote(json.dumps({"bg_color": "#ffffff"}))
    page.goto(f"/live#tgWebAppVersion=8.0&tgWebAppThemeParams={theme}")
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(page.locator(".limits").first).to_have_css("color", "rgb(82, 97, 95)")


def test_files_are_shared_inside_telegram(page: Page) -> None:
    """Where a download would come to nothing."""
    downloads: list[Download] = []
    page.on("download", lambda download: downloads.append(download))
    page.goto("/live#tgWebAppVersion=8.0")
    start(page)
    expect_face(page)
    notice, csv_button = page.locator("#notice"), page.get_by_role("button", name="Save CSV")
    page.evaluate(
        """() => {
            window.shared = [];
            navigator.canShare = ({ files }) => files.length === 1;
            navigator.share = async ({ files: [file] }) => {
                shared.push([file.name, file.type]);
                if (window.refusal) throw new DOMException("", refusal);
            };
        }"""
    )
    page.evaluate("window.refusal = 'AbortError'")  # somebody thinks better of it
    csv_button.click()
    page.wait_for_function("() => shared.length === 1")
    page.wait_for_timeout(300)
    expect(page.get_by_role("log")).not_to_contain_text(re.compile("saved", re.IGNORECASE))
    page.evaluate("window.refusal = 'NotAllowedError'")
    page.get_by_role("button", name="Save JSON").click()
    expect(page.locator("#unsaved")).to_contain_text("Files can't be saved inside Telegram.")
    page.evaluate("window.refusal = undefined")
    page.get_by_role("button", name="Snapshot").click()
    expect(notice).to_have_text("Saved.")
    expect(page.locator("#unsaved")).to_be_hidden()
    names, types = zip(*page.evaluate("shared"))
    assert types == ("text/csv", "application/json", "image/jpeg")
    assert [re.sub(r"[\d-]+", "", name) for name in names] == ["faces.csv", "faces.json", "faces.jpg"]
    assert downloads == []


def test_files_stay_where_telegram_can_not_share_them(page: Page) -> None:
    downloads: list[Download] = []
    page.on("download", lambda download: downloads.append(download))
    page.add_init_script("navigator.canShare = undefined")
    page.goto("/live#tgWebAppVersion=8.0")
    start(page)
    expect_face(page)
    page.get_by_role("button", name="Snapshot").click()
    advice = re.compile(r"Files can't be saved inside Telegram\. .* \"Open in a browser\"")
    expect(page.locator("#notice")).to_have_text(advice)
    expect(page.get_by_role("log")).to_contain_text(advice)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Open in a browser")).to_be_visible()
    page.get_by_role("button", name="Save CSV").click()
    expect(page.locator("#unsaved")).to_have_text(advice)
    assert downloads == []


def test_camera_is_asked_for_only_where_it_would_be_let_in(page: Page) -> None:
    about = page.request.get("/about").json() | {"live_open": False}
    page.add_init_script(CAMERAS)
    page.route("**/about", lambda route: route.fulfill(json=about), times=1)
    page.goto("/live")
    start(page)
    expect(page.get_by_role("heading", name="Not here")).to_be_visible()
    expect(page.locator("#message")).to_have_text(replies.LIVE_REFUSALS["unknown"])
    assert page.evaluate("tracks") == []
    page.route("**/about", lambda route: route.fulfill(body="no answer of the service's"), times=1)
    page.reload()
    start(page)
    connection(page, "live")


def test_browser_is_offered_where_it_would_be_let_in(browser: Browser, service) -> None:
    with opened(browser, service, permissions=()) as page:
        about = page.request.get("/about").json()
        assert about["live_open"] is True
        outside = page.get_by_role("button", name="Open in a browser")
        page.goto("/live#tgWebAppVersion=8.0")
        page.wait_for_load_state("networkidle")
        start(page)
        expect(outside).to_be_visible()
        page.context.grant_permissions(["camera"])
        page.get_by_role("button", name="Try again").click()
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("heading", name="The camera is off")).to_be_visible()
        expect(outside).to_be_hidden()
        page.context.clear_permissions()
        page.route("**/about", lambda route: route.fulfill(json=about | {"live_open": False}))
        page.reload()
        page.wait_for_load_state("networkidle")
        start(page)
        expect(page.get_by_role("heading", name="No camera")).to_be_visible()
        expect(outside).to_be_hidden()


def test_browser_is_opened_without_what_telegram_told(browser: Browser, service) -> None:
    with opened(browser, service, permissions=()) as page:
        proxy = "window.TelegramWebviewProxy = { postEvent: (...event) => told.push(event) };"
        page.add_init_script(f"window.told = []; {proxy}")
        page.goto("/live#tgWebAppVersion=8.0&tgWebAppData=user")
        page.wait_for_load_state("networkidle")
        start(page)
        page.get_by_role("button", name="Open in a browser").click()
        first, second, *_, last = page.evaluate("told")
        assert [first, second] == [["web_app_ready", "{}"], ["web_app_expand", "{}"]]
        assert (last[0], json.loads(last[1])) == ("web_app_open_link", {"url": f"{service.url}/live"})


def test_letters_can_be_switched_off_on_a_phone(browser: Browser, service) -> None:
    """To which a keyboard may be connected, too."""
    with opened(browser, service, is_mobile=True, has_touch=True) as page:
        page.goto("/live")
        assert page.evaluate("matchMedia('(hover: none)').matches")
        start(page)
        connection(page, "live")
        mirror = page.get_by_role("button", name="Mirror")
        expect(mirror.locator("kbd")).to_be_hidden()
        page.keyboard.press("m")
        expect(mirror).to_have_attribute("aria-pressed", "false")
        page.get_by_text("Keyboard", exact=True).tap()
        page.get_by_label("Keys work wherever the focus is").uncheck()
        page.keyboard.press("m")
        expect(mirror).to_have_attribute("aria-pressed", "false")


def test_link_from_the_photos(page: Page) -> None:
    page.set_viewport_size(PHONE)
    page.goto("/")
    page.get_by_role("link", name="Live").click()
    expect(page.get_by_role("heading", name="Smile at your camera")).to_be_visible()
    page.get_by_role("link", name="Photos").click()
    expect(page.get_by_role("button", name="Choose photos")).to_be_visible()
