"""The site: it builds without warnings, loads nothing from other servers, and documents all that packages export."""

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOREIGN = re.compile(r'<(?:script|img|iframe)\b[^>]*\bsrc="(?:https?:)?//|<link\b[^>]*\bhref="(?:https?:)?//')
PACKAGES = [
    "refinenet_pl",
    *(f"refinenet_pl.{name}" for name in ("data", "deployment", "evaluation", "networks", "weights")),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    return folder


def test_every_page_is_built(site):
    pages = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert not [page for page in pages if not (site / page).is_file()]
    assert {"index.html", "results.html"} <= {path.name for path in site.glob("*.html")}


def test_pages_load_nothing_from_other_servers(site):
    for page in site.rglob("*.html"):
        assert not FOREIGN.findall(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_exported_names_are_documented(site):
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    documented = set(re.findall(r'id="refinenet_pl\.(?:\w+\.)*(\w+)"', text))
    exported = {name for package in PACKAGES for name in import_module(package).__all__}
    assert exported <= documented


def test_pictures_are_small_and_shown():
    pages = "".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 200_000, picture
        assert f"images/{picture.name})" in pages, picture


def test_messages_of_the_troubleshooting_page_exist():
    """A part of each quoted message is in the sources. What is formatted, such as numbers, is left out."""
    texts = [
        node.value
        for path in (ROOT / "refinenet_pl").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^> `(.*)`$", page, flags=re.MULTILINE)
    assert len(messages) > 15
    for message in messages:
        parts = [part for part in re.split(r"…|\d+| \(|; ", message) if len(part) >= 12]
        assert any(part in text for part in parts for text in texts), message
