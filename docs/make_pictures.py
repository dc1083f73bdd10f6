"""Makes the pictures of the pages: `make pictures`.

They show the painted scenes, so that they need no download. The training of the quickstart takes most of the time.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
EXPERIMENTS = ROOT / "experiments"
STUDY = "initial_weights_scenes"
TITLE = 50
"""Height of the title of a sheet, in pixels."""


def refinenet(*words: str | Path) -> None:
    """Run a command of the package; its messages go to the terminal."""
    subprocess.run([sys.executable, "-m", "refinenet_pl", *map(str, words)], cwd=ROOT, check=True)


def predictions(folder: Path) -> None:
    """Train the quickstart, and show its picture of the first validation image."""
    configs = [EXPERIMENTS / "datasets" / "scenes.yaml", EXPERIMENTS / "recipes" / "quickstart.yaml"]
    refinenet("fit", *(f"--config={path}" for path in configs), f"--runs={folder}", "--threads=1")
    with Image.open(min(folder.glob("*/*/pictures/*.png"))) as picture:
        picture.convert("RGB").quantize(256).save(IMAGES / "scenes.png", optimize=True)  # a third of the size


def sheet(folder: Path) -> None:
    """Show a training sample as the network sees it."""
    refinenet("data", "show", "scenes", f"--output={folder}", "--count=1")
    with Image.open(folder / "augmented.png") as image:
        # Without the title, which does not fit above one sample.
        image.crop((0, TITLE, image.width, image.height)).save(IMAGES / "augmented.png", optimize=True)


def plots(folder: Path) -> None:
    """Draw the plots of a study again, from its committed results."""
    shutil.copytree(ROOT / "results" / "studies" / STUDY, folder / STUDY)
    refinenet("study", "report", EXPERIMENTS / "studies" / f"{STUDY}.yaml", f"--runs={folder}")
    for name in ("class_differences", "error_parts"):
        shutil.copy(folder / STUDY / "report" / f"{name}.png", IMAGES / f"{name}.png")


if __name__ == "__main__":
    for make in (sheet, plots, predictions):
        with tempfile.TemporaryDirectory() as temporary:
            make(Path(temporary))
    print(f"wrote the pictures in {IMAGES}")
