"""What the page of a report holds."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def content_of(page: Path) -> dict[str, Any]:
    """Return the content of a page's script, and of its one dataset."""
    text = page.read_text()
    content = json.loads(re.findall(r'<script id="content"[^>]*>(.*?)</script>', text, re.DOTALL)[0])
    (dataset,) = content["datasets"]
    return content | dataset


def decoded(url: str) -> np.ndarray:
    """Return the pixels of an embedded image."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))
