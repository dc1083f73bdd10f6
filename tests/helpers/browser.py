"""Chromium without a window, for pages in files."""

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
from selenium.webdriver.remote.webelement import WebElement

ARGUMENTS = (
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
    """Start a browser that logs requests and messages. The test is skipped if Chromium is not installed.

    Args:
        profile: Folder of a new profile.
    """
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = Options()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    try:
        yield browser
    finally:
        browser.quit()


def column(browser: webdriver.Chrome, table: str, number: int) -> list[str]:
    """Return the cells of a table's column; columns count from 1."""
    cells = browser.find_elements(By.CSS_SELECTOR, f"#{table} tbody tr td:nth-child({number})")
    return [cell.text for cell in cells]


def source(browser: webdriver.Chrome, image: str) -> str | None:
    """Return the URL of an image."""
    return browser.find_element(By.ID, image).get_attribute("src")


def clip(browser: webdriver.Chrome, mask: str) -> list[float]:
    """Return how much of a mask is hidden, in percent of its width."""
    return numbers(re.findall(r"[\d.]+%", browser.find_element(By.ID, mask).value_of_css_property("clip-path")))


def heading(browser: webdriver.Chrome, table: str, text: str) -> WebElement:
    """Return the first heading of a table that contains a text."""
    headings = browser.find_elements(By.CSS_SELECTOR, f"#{table} th button")
    return next(heading for heading in headings if text in heading.text)


def numbers(cells: list[str]) -> list[float]:
    """Return the numbers in cells, without units and marks."""
    return [float(re.sub("[^0-9.−-]", "", cell).replace("−", "-")) for cell in cells]
