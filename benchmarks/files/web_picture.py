"""Takes a picture of the page of `serve-web` with a photograph in it, as docs/guides/devices/browser.md shows one.

    python benchmarks/files/web_picture.py MODEL.tflite PHOTOGRAPH OUT.png [--phone]

Needs `pip install -e '.[test]'`, Debian's chromium and chromium-driver, and what `serve-web --install` fetches.
"""

from __future__ import annotations

import argparse
import io
import threading
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from edge.detect.web.server import page_server
from edge.detect.web.tasks_vision import find_tasks_vision

DESKTOP, PHONE = (900, 760), (390, 844)
COLOURS = 128
SECONDS = 120


def take_picture(address: str, photograph: Path, *, size: tuple[int, int], density: int) -> bytes:
    """Returns the page as PNG after it has looked at the photograph; `size` is width and height in CSS pixels."""
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "enable-unsafe-swiftshader", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    metrics = {"width": size[0], "height": size[1], "pixelRatio": density, "touch": density > 1}
    options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.binary_location = "/usr/bin/chromium"
    service = webdriver.ChromeService(executable_path="/usr/bin/chromedriver")
    with webdriver.Chrome(options=options, service=service) as browser:
        browser.get(address)
        browser.find_element("id", "medium-file").send_keys(str(photograph.resolve()))
        WebDriverWait(browser, SECONDS).until(lambda one: one.find_element("id", "summary").text)
        browser.execute_script("document.getElementById('rate').textContent = ''")  # of this machine, while it is busy
        return browser.get_screenshot_as_png()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--phone", action="store_true")
    arguments = parser.parse_args()
    with page_server(arguments.model, find_tasks_vision(None), port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        size, density = (PHONE, 2) if arguments.phone else (DESKTOP, 1)
        picture = take_picture(server.address, arguments.photograph, size=size, density=density)
        server.shutdown()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=0).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
