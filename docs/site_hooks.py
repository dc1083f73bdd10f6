"""Hooks of MkDocs: pages from files outside docs/, links from the site to GitHub, and anchors as on GitHub."""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[1]
GITHUB = "https://github.com/refinenet-pl/refinenet-pl"
PAGES = {
    "README.md": "index.md",
    "results/README.md": "results.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository, and the pages that they become."""
LINK = re.compile(r"(\]\()(?!https?:|#)([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that they have on GitHub."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Adapt the links of a page, which are relative to its place in the repository."""
    sources = {name: path for path, name in PAGES.items()}
    path = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def adapt(match: re.Match[str]) -> str:
        return match[1] + site_link(posixpath.normpath(f"{posixpath.dirname(path)}/{match[2]}".lstrip("/")), page)

    return LINK.sub(adapt, markdown)


def site_link(path: str, page: Page) -> str:
    """Return the link from a page to a file of the repository: a page or picture of the site, or else on GitHub."""
    target = PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
    if target is not None:
        return os.path.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
    return f"{GITHUB}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}"
