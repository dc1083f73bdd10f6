"""Debian's or the machine's own Chromium without a window, for pages in files."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser with a fresh profile, which tells of every request and message; without one the test is skipped."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = Options()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    try:
        yield browser
    finally:
        browser.quit()


def column(browser, table: str, place: int) -> list[str]:
    cells = browser.find_elements(By.CSS_SELECTOR, f"#{table} tbody tr td:nth-child({place})")
    return [cell.text for cell in cells]


def source(browser, image: str) -> str:
    return browser.find_element(By.ID, image).get_attribute("src")


def clip(browser, mask: str) -> list[float]:
    """The shares of the picture, in percent, that are cut off a mask."""
    return numbers(re.findall(r"[\d.]+%", browser.find_element(By.ID, mask).value_of_css_property("clip-path")))


def heading(browser, table: str, words: str):
    headings = browser.find_elements(By.CSS_SELECTOR, f"#{table} th button")
    return next(each for each in headings if words in each.text)


def numbers(cells: list[str]) -> list[float]:
    return [float(re.sub("[^0-9.−-]", "", cell).replace("−", "-")) for cell in cells]
