"""The panel of a validation sample: image, target, prediction and errors, and a legend."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from refinenet_pl.evaluation.confusion import confusion_matrix
from refinenet_pl.evaluation.legend import Entry, class_entries, draw_legend
from refinenet_pl.evaluation.lettering import INK, font
from refinenet_pl.evaluation.metrics import class_iou, mean_iou
from refinenet_pl.evaluation.pictures import IGNORE_COLOR, IGNORED, Palette, colorize, hatch, resize_image, resize_mask

SMALLEST, LARGEST = 480, 1024
"""Range of the longer side of each picture. Smaller images are enlarged by a whole number, larger ones are shrunk."""
SLOT = 14
"""Smallest width of a picture with the space around it, in heights of a letter. A panel then has 900 pixels or more."""
WRONG, FAINT = (200, 30, 0), 200
"""Color of wrong pixels, and darkest gray of right ones. They differ in lightness, which color-blind readers see."""


def panel(
    image: np.ndarray, target: np.ndarray, prediction: np.ndarray, names: Sequence[str], colors: Palette
) -> Image.Image:
    """Draw image, target, prediction and errors with titles in two rows, and a legend at their right.

    Ignored pixels have stripes. Among the errors, right pixels are faint. The legend has the classes of target and
    prediction, and their IoU on this image. Its text can be read if the panel is printed across a page.

    Args:
        image: RGB pixels, uint8 [H, W, 3].
        target: Class indices, uint8 [H, W]; 255 is ignored.
        prediction: Class indices, uint8 [H, W].
        names: One name per class.
        colors: One RGB triple per class.

    Returns:
        An RGB image, at least 900 pixels wide.
    """
    matrix = confusion_matrix(torch.tensor(prediction), torch.tensor(target), len(names))
    size = shown_size(image.shape[1], image.shape[0])
    text = max(size) // 18
    pixels, targets = resize_image(image, size), resize_mask(target, size)
    ignored, wrong = target == IGNORED, (target != prediction) & (target != IGNORED)
    share = 100 * wrong.sum() / max(1, (~ignored).sum())
    striped, errors = targets == IGNORED, _errors(pixels, resize_mask(wrong, size))
    errors[striped] = IGNORE_COLOR
    pictures = {
        "image": pixels,
        "target": hatch(colorize(targets, colors), striped, text // 4),
        "prediction": colorize(resize_mask(prediction, size), colors),
        f"errors: {share:.1f} %": hatch(errors, striped, text // 4),
    }
    present = np.union1d(target, prediction).tolist()
    return _assemble(pictures, _entries(class_entries(present, names, colors), present, matrix), text)


def shown_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height at which an image is shown."""
    longest = max(width, height)
    if longest > LARGEST:
        return max(1, round(width * LARGEST / longest)), max(1, round(height * LARGEST / longest))
    factor = -(-SMALLEST // longest)
    return factor * width, factor * height


def _errors(image: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Return an image in faint gray, with the wrong pixels in one color."""
    gray = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    return np.where(wrong[..., None], np.array(WRONG, np.uint8), FAINT + gray // 5)


def _entries(classes: Sequence[Entry], present: Sequence[int], matrix: Tensor) -> list[Entry]:
    """Return the entries of the classes with their IoU in percent, and a line for the mean."""
    iou = class_iou(matrix).tolist()
    values = ["" if index == IGNORED else _percent(iou[index]) for index in present]
    entries = [entry._replace(value=value) for entry, value in zip(classes, values, strict=True)]
    return [*entries, Entry("mean IoU", None, _percent(mean_iou(matrix)))]


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def _assemble(pictures: dict[str, np.ndarray], entries: Sequence[Entry], text: int) -> Image.Image:
    """Place the pictures with their titles in two rows, and the legend at their right."""
    height, width = next(iter(pictures.values())).shape[:2]
    slot, gap, line = max(width, SLOT * text), text // 2, 2 * text
    legend = draw_legend(entries, text, max(2 * height + line, SLOT * text))
    left = text + 2 * (slot + gap) + gap
    size = left + max(legend.width, SLOT * text // 2) + text, max(2 * (line + height), line + legend.height) + text
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for index, (title, pixels) in enumerate(pictures.items()):
        start, top = text + index % 2 * (slot + gap), index // 2 * (line + height)
        draw.text((start + slot // 2, top + line // 2), title, INK, font(text), anchor="mm")
        sheet.paste(Image.fromarray(pixels), (start + (slot - width) // 2, top + line))
    draw.text((left, line // 2), "IoU, %", INK, font(text), anchor="lm")
    sheet.paste(legend, (left, line))
    return sheet
