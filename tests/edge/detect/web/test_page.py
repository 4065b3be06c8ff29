"""The page of `serve-web` in a real headless Chromium: it finds what the Python runtime finds, and refuses clearly."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from edge.detect.web.server import page_server
from edge.detect.web.tasks_vision import PAGE, cache_folder, find_tasks_vision, is_tasks_vision
from edge.export.convert import convert_heads
from edge.export.export import write_detector
from edge.runtime import Detector, read_image
from keras_retina.foundation.drawing import label_colours
from keras_retina.geometry.boxes import iou
from keras_retina.recipe.recipe import Export

SECONDS = 240  # a busy machine compiles 13 MB of WebAssembly slowly
SCORE_TOLERANCE, LEAST_IOU = 0.05, 0.9
SLIVER = 8  # pixels of the picture
SETTINGS = Export(max_detections=200, score_threshold=0.1)
WATCHED = "return [document.getElementById('message').textContent, document.getElementById('summary').textContent]"
RECORD_VIDEO = """
    const done = arguments[0];
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 128;
    const pencil = canvas.getContext("2d");
    const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: "video/webm" });
    const parts = [];
    let frame = 0;
    const drawing = setInterval(() => {
      pencil.fillStyle = `hsl(${(frame += 1) * 20} 90% 50%)`;
      pencil.fillRect(0, 0, 128, 128);
      if (frame === 20) recorder.stop();
    }, 50);
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = () => {
      clearInterval(drawing);
      const chosen = new DataTransfer();
      chosen.items.add(new File(parts, "moving.webm", { type: "video/webm" }));
      const input = document.getElementById("medium-file");
      input.files = chosen.files;
      input.dispatchEvent(new Event("change"));
      done();
    };
    recorder.start();
"""


@pytest.fixture(scope="module")
def tasks_vision() -> Path:
    """The npm package, where it is installed; tests do not install it."""
    folders = [PAGE, Path.cwd(), cache_folder()]
    if not any(is_tasks_vision(folder / "node_modules/@mediapipe/tasks-vision") for folder in folders):
        pytest.skip("needs the npm package @mediapipe/tasks-vision: npm ci --prefix edge/detect/web/page")
    return find_tasks_vision(None)


@pytest.fixture(scope="module")
def chromium(tasks_vision):
    """A headless browser with a camera that shows a test pattern."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    flags = ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "enable-unsafe-swiftshader")
    for flag in (*flags, "use-fake-device-for-media-stream", "window-size=1000,900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_script_timeout(SECONDS)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def files(small_quantized, tmp_path_factory) -> dict[str, Path]:
    """`float32`, `int8` and `letterbox` of one detector of 64 x 64 pixels that finds a disc or square anywhere."""
    folder = tmp_path_factory.mktemp("web")
    spec = small_quantized.spec
    network = convert_heads(small_quantized.model, spec, kind="float32")
    made = {
        "float32": (network, spec, "float32"),
        "int8": (small_quantized.int8, spec, "int8"),
        "letterbox": (network, dataclasses.replace(spec, resize="letterbox"), "float32"),
    }
    paths = {name: folder / f"small_{name}.tflite" for name in made}
    for name, (heads, described, kind) in made.items():
        write_detector(paths[name], heads, spec=described, kind=kind, head="postprocess", settings=SETTINGS)
    return paths


@pytest.fixture
def page(chromium, files, tasks_vision):
    """The page as `serve-web` opens it, with the float32 file."""
    server = page_server(files["float32"], tasks_vision, port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Page(chromium, server.address)
    chromium.get("about:blank")
    server.shutdown()
    server.server_close()


class Page:
    """What a person sees and does."""

    def __init__(self, browser, address: str) -> None:
        self.browser, self.address = browser, address

    def open(self, query: str | None = None) -> None:
        self.browser.get(self.address if query is None else self.address.split("?")[0] + query)

    def part(self, name: str):
        return self.browser.find_element("id", name)

    def wait_until(self, happened) -> None:
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            WebDriverWait(self.browser, SECONDS, 0.2).until(lambda _: happened())
        except TimeoutException:
            pytest.fail(f"it did not happen; message and summary: {self.texts()}")

    def wait_for(self, text: str) -> None:
        """Waits until the message or the summary contains a text."""
        self.wait_until(lambda: text in "\n".join(self.texts()))

    def texts(self) -> list[str]:
        return self.browser.execute_script(WATCHED)

    def choose_model(self, path: Path) -> None:
        self.part("model-file").send_keys(str(path))
        self.wait_for("Choose a picture")

    def choose_picture(self, path: Path) -> None:
        self.part("medium-file").send_keys(str(path))

    def set_score(self, value: float) -> None:
        script = "const [s, v] = arguments; s.value = v; s.dispatchEvent(new Event('input'))"
        self.browser.execute_script(script, self.part("score"), value)

    def found(self) -> list[dict]:
        script = "return [...document.querySelectorAll('#found li')].map((item) => ({ ...item.dataset }))"
        rows = self.browser.execute_script(script)
        return [{key: row[key] if key == "label" else json.loads(row[key]) for key in row} for row in rows]


def assert_same(found: list[dict], model: Path, picture: Path, score: float) -> None:
    """Every detection of the runtime that is not a sliver is one of the page, and there are as many."""
    detector = Detector(model)
    expected = detector.detect(read_image(picture), score)
    assert abs(len(found) - len(expected.scores)) <= 2  # of slivers that rounding to pixels leaves nothing of
    large = (expected.boxes[:, 2:] - expected.boxes[:, :2]).min(axis=1) > SLIVER
    assert large.sum() > 20
    overlaps = iou(expected.boxes, np.array([row["box"] for row in found], np.float32))
    for number in np.flatnonzero(large):
        class_index, value = expected.classes[number], expected.scores[number]
        same = [
            place
            for place, row in enumerate(found)
            if row["label"] == detector.class_names[class_index] and abs(row["score"] - value) <= SCORE_TOLERANCE
        ]
        assert max(overlaps[number, same], default=0) >= LEAST_IOU, (number, value)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_the_page_finds_in_a_drawing_what_the_runtime_finds(page, files, image_paths, kind):
    page.open("?none")
    page.choose_model(files[kind])
    page.choose_picture(image_paths[0])
    page.wait_for("disc")
    assert_same(page.found(), files[kind], image_paths[0], 0.3)


def test_classes_have_the_colours_of_the_other_pictures(page, image_paths):
    page.open()
    page.choose_picture(image_paths[0])
    page.wait_for("disc")
    script = "return [...document.querySelectorAll('#found li')].map((i) => [i.dataset.label, i.style.cssText])"
    colours = dict(page.browser.execute_script(script))
    assert set(colours) == {"disc", "square"}
    for colour, style in zip(label_colours(list(colours)), colours.values(), strict=True):
        assert "#{:02x}{:02x}{:02x}".format(*colour) in style


def speed_rows(page) -> list[list[str]]:
    script = (
        "return [...document.querySelectorAll('#speeds tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    return page.browser.execute_script(script)


def test_the_speed_of_each_file_is_listed(page, files, image_paths):
    page.open()
    page.choose_picture(image_paths[0])
    page.wait_for("disc")
    page.choose_picture(image_paths[1])
    page.wait_until(lambda: [row[-1] for row in speed_rows(page)] == ["2"])
    page.browser.execute_script("document.getElementById('message').textContent = 'Choose a picture'")
    page.part("model-file").send_keys(str(files["int8"]))  # looks at the picture at once
    page.wait_until(lambda: len(speed_rows(page)) == 2)
    first, second = speed_rows(page)
    assert [first[0], second[0], first[4]] == ["small_float32.tflite", "small_int8.tflite", ""]
    assert second[2:] == ["", "", "", "1"]  # one picture has no median
    earliest, median, slowest = (float(text.removesuffix(" ms")) for text in first[1:4])
    assert earliest > 0 and 0 < median <= slowest
    page.browser.execute_async_script(RECORD_VIDEO)
    page.wait_until(lambda: speed_rows(page)[1][4].endswith("frames/s"))
    assert speed_rows(page)[0][4] == ""  # the other file saw no video


SEND = """
    const [address, done] = arguments;
    const tries = [
      () => fetch(address, { method: "POST", body: "secret", mode: "no-cors" }),
      () => fetch(address, { mode: "no-cors" }),
      async () => navigator.sendBeacon(address, "secret"),
      async () => new WebSocket(address.replace("http", "ws")),
      async () => new EventSource(address),
      async () => (new Image().src = address),
      async () => document.body.append(Object.assign(document.createElement("iframe"), { src: address })),
      async () => document.head.append(Object.assign(document.createElement("script"), { src: address })),
      async () => {
        const form = Object.assign(document.createElement("form"), { method: "POST", action: address });
        document.body.append(form);
        form.submit();
      },
    ];
    Promise.allSettled(tries.map((act) => act())).then(() => setTimeout(() => done(tries.length), 1500));
"""


def test_nothing_can_be_sent_to_another_server(page, image_paths):
    """Whatever code in the page tried, MediaPipe's too, the browser does not let it out."""
    received = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self):
            received.append(self.path)
            self.send_response(204)
            self.end_headers()

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    other = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{other.server_port}/collect"
        page.open()
        page.choose_picture(image_paths[0])
        page.wait_for("disc")
        assert page.browser.execute_async_script(SEND, address) == 9
        assert received == []
        page.browser.get(address)  # the listener does hear: a person may go there
        assert received == ["/collect"]
    finally:
        other.shutdown()
        other.server_close()


def test_the_page_finds_in_a_photograph_what_the_runtime_finds(page, files, shared_data):
    picture = sorted((shared_data / "raccoon/images").glob("*.jpg"))[0]
    page.open()
    page.choose_picture(picture)
    page.wait_for("disc")
    assert_same(page.found(), files["float32"], picture, 0.3)


def test_a_letterboxed_detector_sees_its_letterbox(page, files, image_paths):
    page.open("?none")
    page.choose_model(files["letterbox"])
    page.choose_picture(image_paths[1])
    page.wait_for("disc")
    assert_same(page.found(), files["letterbox"], image_paths[1], 0.3)


def test_the_slider_shows_only_what_scores_as_much(page, image_paths):
    page.open()
    page.choose_picture(image_paths[0])
    page.wait_for("disc")
    page.set_score(0.1)
    scores = [row["score"] for row in page.found()]
    assert scores == sorted(scores, reverse=True)
    page.set_score(0.5)
    assert [row["score"] for row in page.found()] == [score for score in scores if score >= 0.5] != scores
    page.set_score(1)
    assert page.found() == []
    assert page.part("summary").text == "Nothing found"


def test_without_a_model_the_page_says_so_and_looks_at_the_picture_later(page, files, image_paths):
    page.open("?none")
    page.wait_for("No model is chosen")
    page.choose_picture(image_paths[0])
    page.wait_for("No model is chosen")
    assert page.part("summary").text == ""
    page.part("model-file").send_keys(str(files["float32"]))
    page.wait_for("disc")
    assert page.part("message").text == ""


def test_files_of_another_kind_are_refused_with_what_to_do(
    page, files, image_paths, write_tflite, classifier_layers, tmp_path
):
    noise = tmp_path / "noise.tflite"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(files["float32"].read_bytes()[:50_000])
    classifier = write_tflite(tmp_path / "classifier.tflite", *classifier_layers)
    page.open("?none")
    no_metadata = "Object detection models require TFLite Model Metadata but none was found. Choose"
    for path, received in ((noise, "bytes of another kind"), (cut, "not a valid"), (classifier, no_metadata)):
        page.part("model-file").send_keys(str(path))
        page.wait_for(f"{path.name}: expected a")
        assert received in page.part("message").text
        assert page.part("message").get_attribute("data-kind") == "error"
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    page.choose_picture(tmp_path / "no.jpg")
    page.wait_for("no.jpg: expected a picture or a video")
    page.choose_model(files["float32"])  # a refused file spoils nothing
    page.choose_picture(image_paths[0])
    page.wait_for("disc")


@pytest.mark.parametrize("model", ["model/none.tflite", "https://example.org/model.tflite"])
def test_a_model_that_the_server_does_not_have_is_named(page, model):
    page.open(f"?model={model}")
    page.wait_for(f"{model}: expected a .tflite on the server of this page")


def test_a_video_and_the_camera_show_a_frame_rate(page):
    page.open()
    page.wait_for("Choose a picture")
    page.set_score(0.1)
    page.browser.execute_async_script(RECORD_VIDEO)
    page.wait_until(lambda: "frames/s" in page.part("rate").text)
    permission = {"permission": {"name": "camera"}, "setting": "granted"}
    page.browser.execute_cdp_cmd("Browser.setPermission", permission)
    page.part("camera").click()
    page.wait_until(lambda: page.part("camera").get_attribute("aria-pressed") == "true")
    page.wait_until(lambda: "frames/s" in page.part("rate").text)
    page.part("camera").click()
    assert page.part("rate").text == ""
    page.browser.execute_cdp_cmd("Browser.setPermission", permission | {"setting": "denied"})
    page.part("camera").click()
    page.wait_for("The camera was refused")


def test_nothing_leaves_the_machine(page, files, image_paths):
    page.browser.get_log("performance")  # what other tests left
    page.open()
    page.browser.execute_script(
        "window.stopped = []; addEventListener('securitypolicyviolation', (one) => stopped.push(one.blockedURI))"
    )
    page.choose_picture(image_paths[0])
    page.wait_for("disc")
    page.part("model-file").send_keys(str(files["int8"]))  # closes the first
    page.wait_until(lambda: "small_int8" in page.part("model").text)
    events = [json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")]
    sent = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    assert any(url.endswith(".wasm") for url in sent)
    assert {urlsplit(url).hostname for url in sent if urlsplit(url).scheme.startswith("http")} == {"127.0.0.1"}
    # The pinned MediaPipe does try, when a model is closed and every minute.
    page.wait_until(lambda: page.browser.execute_script("return stopped.length"))
    assert page.browser.execute_script("return stopped")[0].startswith("https://odml.pa.googleapis.com")
