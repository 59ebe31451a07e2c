"""A real browser on a real server: Chromium without a screen, driven as a person drives it."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from trimtab.labelling.dashboard import summarise
from trimtab.labelling.store import Store
from trimtab.labelling.web.app import application
from trimtab.labelling.web.serve import LOOPBACK, listen

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
PATIENCE = 10.0


@contextmanager
def served(store: Store, model: Callable[..., str] | None = None) -> Iterator[str]:
    """The address of a project while it is served from a thread."""
    listener = listen("127.0.0.1", 0)
    app = application(store, summarise, model, LOOPBACK)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


def until(true: Callable[[], Any], what: str) -> Any:
    """What `true` returns once it is true. Fails with what was waited for."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE:.0f} s in vain until {what}")


class Chromium:
    """One person's browser: its own cookies, mouse and keyboard."""

    def __init__(self) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for switch in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "hide-scrollbars"):
            options.add_argument(f"--{switch}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(CHROMEDRIVER))
        self.base = ""
        self.shape()

    def shape(self, width: int = 1200, height: int = 900, scheme: str = "light", scale: float = 1.0) -> None:
        """The size of the page in CSS pixels, and whether the reader's system is light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        touch = {"enabled": width < 500}  # what is touched does not hover: hints on keys go
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)
        scheme_feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme_feature]})

    def sign_in(self, base: str, secret: str) -> None:
        """Open a personal link."""
        self.base = base
        self.open(f"/in/{secret}")

    def open(self, path: str = "/") -> None:
        """Go to a path of the site."""
        self.driver.get(self.base + path)
        self.ready()

    def ready(self) -> None:
        """Wait for the page, but not for the half second in which it takes no second click of a double click."""
        until(lambda: self.run("return document.readyState == 'complete'"), "the page is ready")
        self.run("document.querySelector('form.task')?.removeAttribute('data-sent')")

    def run(self, script: str, *values: Any) -> Any:
        """What a script on the page returns."""
        return self.driver.execute_script(script, *values)

    def find(self, css: str) -> Any:
        """The first element that matches."""
        return self.driver.find_element("css selector", css)

    def all(self, css: str) -> list[Any]:
        """Every element that matches."""
        return self.driver.find_elements("css selector", css)

    @property
    def text(self) -> str:
        """What is to be read on the page."""
        return str(self.find("body").text)

    @property
    def heading(self) -> str:
        """The page's own heading."""
        return str(self.find("h1").text)

    def click(self, css: str) -> None:
        """Click in the middle of an element."""
        self.find(css).click()

    def choose(self, name: str, value: str) -> None:
        """Click on the label around a choice."""
        self.find(f"label:has(input[name={name}][value='{value}'])").click()

    def keys(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        self._actions().send_keys(*keys).perform()

    def control_enter(self) -> None:
        """Press Ctrl+Enter."""
        from selenium.webdriver import Keys

        self._actions().key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()

    def tab_to(self, css: str) -> list[str]:
        """Press Tab until an element that matches has the focus; what had it on the way."""
        from selenium.webdriver import Keys

        passed: list[str] = []
        for _ in range(60):
            self.keys(Keys.TAB)
            if self.run("return document.activeElement.matches(arguments[0])", css):
                return passed
            passed.append(self.run("return document.activeElement.outerHTML.slice(0, 80)"))
        raise AssertionError(f"Tab never comes to {css}, but to {passed}")

    def drag(self, css: str, onto: str) -> None:
        """Drag an element onto another with the mouse."""
        self._actions().drag_and_drop(self.find(css), self.find(onto)).perform()

    def double_click(self, css: str) -> None:
        """Click twice, as fast as it goes."""
        self._actions().double_click(self.find(css)).perform()

    @contextmanager
    def turning_the_page(self) -> Iterator[None]:
        """Wait, after what is done in here, for the next page."""
        self.run("window.isOld = true")
        yield
        until(lambda: not self.run("return window.isOld"), "the next page comes")
        self.ready()

    def complaints(self) -> list[str]:
        """What the browser has complained of since the last time: errors, violations of the policy, warnings."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def colour(self, variable: str) -> tuple[int, int, int]:
        """A colour of the style sheet under the scheme that is on, in red, green and blue from 0 to 255."""
        script = (
            "const spot = document.createElement('i'); spot.style.color = `var(${arguments[0]})`;"
            "document.body.append(spot); const found = getComputedStyle(spot).color; spot.remove(); return found;"
        )
        red, green, blue = map(int, re.findall(r"\d+", self.run(script, variable))[:3])
        return red, green, blue

    def quit(self) -> None:
        """Close it."""
        self.driver.quit()

    def _actions(self) -> Any:
        from selenium.webdriver import ActionChains

        return ActionChains(self.driver, duration=20)
