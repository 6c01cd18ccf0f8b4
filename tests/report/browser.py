"""What a page is like in a browser: on a screen of some width, in light or dark, by script and by keyboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.keys import Keys

CONTRAST = """
const channel = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const parsed = (text) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
};
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const luminance = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((value) => channel(value / 255)); return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const behind = (element) => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(parsed(getComputedStyle(at).backgroundColor));
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
};
const poor = [];
for (const element of document.querySelectorAll('body *')) {
  const said = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!said || ['title', 'desc'].includes(element.tagName) || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const below = behind(element);
  const ink = over(parsed(element instanceof SVGElement ? style.fill : style.color), below);
  const [high, low] = [luminance(ink), luminance(below)].sort((a, b) => b - a);
  const ratio = (high + 0.05) / (low + 0.05);
  if (ratio < 4.5) poor.push(`${element.tagName} ${element.className} ${ratio.toFixed(2)} ${element.textContent}`);
}
return poor;
"""


class Browser:
    """A headless browser with one page open."""

    def __init__(self, driver: WebDriver) -> None:
        self._driver = driver

    def open(self, page: Path, *, width: int = 1280, scheme: str = "light") -> None:
        """Shows the file in a window of this width, in pixels, and clears what was logged before."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.complaints()
        self.fetched()
        self._driver.get(page.as_uri())

    def ask(self, script: str) -> Any:
        """What a script returns."""
        return self._driver.execute_script(script)

    def press(self, *keys: str) -> None:
        self._driver.switch_to.active_element.send_keys(*keys)

    def tabbed(self, most: int) -> list[str]:
        """What gets the focus, as `tag.class`, by pressing Tab so often from the top."""
        found = []
        for _ in range(most):
            self.press(Keys.TAB)
            name = "const a = document.activeElement; return `${a.tagName.toLowerCase()}.${a.className}`"
            found.append(str(self.ask(name)))
        return found

    def complaints(self) -> list[str]:
        """What the console has said since the last time."""
        return [entry["message"] for entry in self._driver.get_log("browser")]

    def fetched(self) -> list[str]:
        """The addresses that were asked for since the last time, without what lies in the page itself."""
        events = [json.loads(entry["message"])["message"] for entry in self._driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [address for address in sent if not address.startswith("data:")]

    def poor_contrast(self) -> list[str]:
        """Text that is seen with a contrast below 4.5 : 1, by the formula of WCAG 2.2, 1.4.3."""
        return list(self.ask(CONTRAST))

    def nameless(self) -> list[str]:
        """The roles of what a screen reader would come to and could not name."""
        tree = self._driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        named = {"image", "region", "link", "button", "table", "navigation", "DisclosureTriangle", "list"}
        return [
            f"{node['role']['value']} {node.get('properties')}"
            for node in tree
            if not node.get("ignored") and node.get("role", {}).get("value") in named - {"list"}
            if not node.get("name", {}).get("value", "").strip()
        ]
