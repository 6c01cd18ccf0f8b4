"""A browser, one for all tests of a module."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.report.browser import Browser

PROGRAMS = {"chromium": "chromium", "chromedriver": "chromium-driver"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; tests are skipped where it is not installed, and fail there under CI."""
    found = {program: shutil.which(program) for program in PROGRAMS}
    if missing := [PROGRAMS[program] for program, path in found.items() if path is None]:
        reason = f"Chromium is not installed: apt-get install --no-install-recommends {' '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = str(found["chromium"])
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(found["chromedriver"])))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
