"""A report, opened in a real Chromium."""

import csv
import io
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
"""No window, no sandbox (which root cannot have), and nothing that the browser itself would ask the network for."""
DRAWN = """
const done = arguments[0];
(async () => {
  const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
  for (const figure of document.querySelectorAll("[data-figure]")) {
    figure.scrollIntoView({ behavior: "instant" });
    while (!("drawn" in figure.dataset)) await pause();
  }
  document.getElementById("samples").scrollIntoView({ behavior: "instant" });
  while (!document.getElementById("count").textContent) await pause();
  done();
})();
"""
AT_REST = """
const done = arguments[0];
(async () => {
  const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
  let before = "";
  for (let alike = 0; alike < 10; await pause()) {
    await Promise.all(outctl.drawing.values());
    const now = `${scrollY} ${document.body.scrollHeight}`;
    alike = now === before ? alike + 1 : 0;
    before = now;
  }
  done();
})();
"""
FOCUS = """
const style = getComputedStyle(document.activeElement);
const box = document.activeElement.getBoundingClientRect();
const marked = style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2;
return marked && box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
"""


def driver(profile: Path, downloads: Path) -> webdriver.Chrome:
    """A Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    found.set_script_timeout(60)
    found.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    return found


@dataclass
class Page:
    """An open report."""

    driver: webdriver.Chrome
    downloads: Path

    def open(self, report: Path, width: int = 1280, dark: bool = False) -> "Page":
        """Open a report and wait until every figure is drawn and the samples are listed."""
        self.load(report.as_uri(), width, dark)
        self.wait()
        return self

    def load(self, address: str, width: int = 1280, dark: bool = False, moving: bool = False) -> None:
        """Open an address, and wait for nothing that the page draws then; `moving` is a page that scrolls smoothly."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        # A click while the page still scrolls would miss.
        motion = {"name": "prefers-reduced-motion", "value": "no-preference" if moving else "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, motion]})
        # From one section of a page to another the browser would load nothing.
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(address)

    def press(self, *keys: str) -> None:
        """Press keys one after the other, whatever has the focus."""
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def press_until(self, key: str, reached: str, most: int = 400) -> None:
        """Press a key until an element of a selector has the focus, which every element on the way must show."""
        for _ in range(most):
            self.press(key)
            if self.run(f"return document.activeElement.matches({reached!r})"):
                self.show_focus()
                return
        raise AssertionError(f"{reached} was not reached")

    def wait_for(self, script: str) -> None:
        """Wait until a script returns what is true."""
        WebDriverWait(self.driver, 20, 0.05).until(lambda found: found.execute_script(script), script)

    def show_focus(self) -> None:
        """Make sure that what has the focus is in the window and marked."""
        assert self.run(FOCUS), self.run("return document.activeElement.outerHTML.slice(0, 200)")

    def wait(self) -> None:
        """Wait until every figure is drawn and the samples are listed."""
        self.driver.execute_async_script(DRAWN)

    def rest(self) -> None:
        """Wait until nothing is drawn and nothing moves any more."""
        self.driver.execute_async_script(AT_REST)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def element(self, selector: str) -> WebElement:
        """The first element of a selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Text of every element of a selector, shown or not."""
        found: list[str] = self.run(f"return [...document.querySelectorAll({selector!r})].map((e) => e.textContent)")
        return found

    def choose(self, name: str, label: str) -> None:
        """Choose an option of a select, as a person does."""
        Select(self.element(f"#{name}")).select_by_visible_text(label)
        self.wait()

    def search(self, words: str) -> None:
        """Write into the search field."""
        field = self.element("#search")
        field.clear()
        # Clearing tells the page nothing.
        field.send_keys(f"{words}")
        self.run("document.getElementById('search').dispatchEvent(new Event('input'))")
        time.sleep(0.2)

    def count(self) -> str:
        """How many samples the page says that it has found."""
        return self.element("#count").text

    def download(self, selector: str) -> list[dict[str, str]]:
        """The rows of the CSV file that a click on a button makes."""
        for file in self.downloads.iterdir():
            file.unlink()
        self.run(f"document.querySelector({selector!r}).click()")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            files = [file for file in self.downloads.iterdir() if file.suffix == ".csv"]
            if files and files[0].stat().st_size:
                return list(csv.DictReader(io.StringIO(files[0].read_text())))
            time.sleep(0.05)
        raise AssertionError("nothing was downloaded")

    def complaints(self) -> list[str]:
        """What the console holds since the report was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Every address that was asked for since the report was opened."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
