"""The folder that `predict` writes: the name of each file in it, and which settings its files are made with."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from refinenet_pl.differences import differences
from refinenet_pl.errors import UserError
from refinenet_pl.files import path_inside, read_json, write_json
from refinenet_pl.images import UNREADABLE
from refinenet_pl.text import join
from refinenet_pl.video import comment_of

SOURCE = "source"
"""Key of the text in a mask's PNG that holds the SHA-256 of its image file."""


class PredictionFolder:
    """The files of predictions. Nothing needs to exist yet.

    Args:
        path: The folder.
        with_probabilities: Whether an image has a file of probabilities.

    Attributes:
        path: The folder.
        with_probabilities: The argument.
    """

    def __init__(self, path: str | Path, with_probabilities: bool = False) -> None:
        self.path = Path(path)
        self.with_probabilities = with_probabilities

    @property
    def manifest(self) -> Path:
        """Checkpoint and settings of all predictions in the folder."""
        return self.path / "manifest.json"

    @property
    def masks(self) -> Path:
        """Folder of the masks."""
        return self.path / "masks"

    @property
    def shares(self) -> Path:
        """Table of the share of each class in each mask."""
        return self.path / "shares.csv"

    @property
    def legend(self) -> Path:
        """Picture of all classes with their colors."""
        return self.path / "legend.png"

    def mask(self, name: str) -> Path:
        """Return the palette image of the class indices of an image."""
        return path_inside(self.masks, f"{name}.png")

    def overlay(self, name: str) -> Path:
        """Return the image with the predicted classes drawn over it."""
        return path_inside(self.path / "overlays", f"{name}.png")

    def probabilities(self, name: str) -> Path:
        """Return the archive of the probabilities of an image."""
        return path_inside(self.path / "probabilities", f"{name}.npz")

    def video(self, name: str) -> Path:
        """Return the video with the predicted classes drawn over it."""
        return path_inside(self.path / "overlays", f"{name}.mp4")

    def of_image(self, name: str) -> list[Path]:
        """Return all files of an image. The mask comes last, because it is written last."""
        probabilities = [self.probabilities(name)] if self.with_probabilities else []
        return [self.overlay(name), *probabilities, self.mask(name)]

    def of_all(self) -> list[Path]:
        """Return the files that exist once."""
        return [self.manifest, self.shares, self.legend]

    def has(self, name: str, source: str) -> bool:
        """Return whether an image is predicted already.

        Args:
            name: Name of the image.
            source: SHA-256 of the image file. Another image of the same name is not predicted yet.
        """
        if not all(path.is_file() for path in self.of_image(name)):
            return False
        try:
            with Image.open(self.mask(name), formats=["PNG"]) as mask:
                return mask.info.get(SOURCE) == source
        except UNREADABLE:
            return False

    def has_video(self, name: str, source: str) -> bool:
        """The same for a video."""
        return comment_of(self.video(name)) == source

    def check(self, settings: Mapping[str, Any], outputs: Iterable[Path]) -> None:
        """Check that the folder is new, or holds predictions of the same checkpoint and settings.

        Args:
            settings: Checkpoint and settings of the new predictions, as plain values of JSON.
            outputs: The files that would be written.

        Raises:
            UserError: The folder holds other predictions, or files that no prediction wrote.
        """
        if not self.manifest.is_file():
            if existing := next((path for path in outputs if path.exists()), None):
                raise UserError(
                    f"{existing}: this file exists, and there is no {self.manifest}, so that another program may have "
                    "written it. Choose another --output."
                )
            return
        advice = "choose another --output, or delete this folder"
        written = read_json(self.manifest, advice)
        if found := differences(dict(settings), written, both_complete=True):
            listed = (f"{key} is {new!r} and was {old!r}" for key, (new, old) in found.items())
            raise UserError(
                f"--output: {self.path} holds predictions of other settings, which would be mixed with new ones: "
                f"{join(listed, limit=3)}. They are of {written.get('checkpoint_path')}. To predict, {advice}."
            )

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Write the manifest, unless it exists. Call `check` first."""
        if not self.manifest.is_file():
            write_json(self.manifest, settings)
