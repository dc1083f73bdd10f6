"""What a perfect network could score: closed forms on stripes, and cells by hand."""

import numpy as np
import pytest
import torch

from refinenet_pl.evaluation.ceiling import MOVES, STRIDES, at_stride, limit_counts, limit_iou, moved

IGNORED = 255


def stripes(width: int, count: int, height: int = 24) -> torch.Tensor:
    """Vertical stripes of two classes in turn."""
    return (torch.arange(width * count) // width % 2).to(torch.uint8).repeat(height, 1)


def iou_at(target: torch.Tensor, limit: str, classes: int = 2) -> list[float]:
    return limit_iou(limit_counts(target, classes))[limit].tolist()


@pytest.mark.parametrize("stride", STRIDES)
def test_aligned_stripes_survive(stride):
    target = stripes(stride, 6, 64)
    assert torch.equal(at_stride(target, stride), target)
    assert iou_at(target, f"stride {stride}") == [1, 1]


@pytest.mark.parametrize(("stride", "width"), [(4, 2), (8, 4), (8, 2), (32, 16), (32, 4)])
def test_stripes_within_cells_become_one_class(stride, width):
    # Each cell holds as much of both classes. Of equal fractions, the first class wins.
    target = stripes(width, 4 * stride // width)
    assert iou_at(target, f"stride {stride}") == [0.5, 0]


def test_stripes_of_three_pixels_at_stride_four():
    # AAABBBAAABBB: A's fractions are 3/4, 1/2 and 1/4 in three cells. Between the cells' centers at 1.5, 5.5 and 9.5
    # they fall linearly and cross 1/2 at 5.5: pixels 0..5 become A, 6..11 become B. Three pixels of six are right.
    target = stripes(3, 12)
    assert at_stride(target, 4)[0].tolist() == ([0] * 6 + [1] * 6) * 3
    assert iou_at(target, "stride 4") == pytest.approx([1 / 3, 1 / 3])


def test_stripes_of_six_pixels_at_stride_four():
    # The cells hold 1, 1/2 and 0 of a class, which cross 1/2 exactly at the edges of the stripes.
    assert iou_at(stripes(6, 8), "stride 4") == [1, 1]


@pytest.mark.parametrize(("width", "predicted"), [(2, 0), (4, 0), (6, 6), (8, 8)])
def test_stripe_in_a_cell(width, predicted):
    # A fraction of width / 8 falls linearly to 0 in the next cells' centers, 8 pixels away, so that it exceeds 1/2
    # within 8 (1 - 4 / width) pixels of the center: 2.67 for a width of 6, which are 3 pixels on each side.
    target = torch.zeros(64, 64, dtype=torch.uint8)
    start = 24 + (8 - width) // 2
    target[:, start : start + width] = 1
    assert (at_stride(target, 8) == 1).sum(1).unique().tolist() == [predicted]


def cells_by_hand(target: np.ndarray, stride: int) -> np.ndarray:
    """Return the value of each class in each pixel, [C, H, W]: fractions of cells, interpolated pixel by pixel."""
    classes = 3
    grid = [-(-side // stride) for side in target.shape]
    edges = [
        [(index * side // cells, -(-(index + 1) * side // cells)) for index in range(cells)]
        for side, cells in zip(target.shape, grid, strict=True)
    ]
    fractions = np.zeros((classes, *grid))
    for row, (top, bottom) in enumerate(edges[0]):
        for column, (left, right) in enumerate(edges[1]):
            cell = target[top:bottom, left:right]
            for index in range(classes):
                fractions[index, row, column] = (cell == index).sum() / max(1, (cell != IGNORED).sum())
    values = np.zeros((classes, *target.shape))
    for y, x in np.ndindex(target.shape):
        # Pixel centers in units of cells, from the center of the first cell on, and constant beyond the outermost.
        place = [(p + 0.5) * n / side - 0.5 for p, n, side in zip((y, x), grid, target.shape, strict=True)]
        row, column = (min(max(p, 0), n - 1) for p, n in zip(place, grid, strict=True))
        for r in {int(row), min(int(row) + 1, grid[0] - 1)}:
            for c in {int(column), min(int(column) + 1, grid[1] - 1)}:
                values[:, y, x] += (1 - abs(row - r)) * (1 - abs(column - c)) * fractions[:, r, c]
    return values


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("size", [(24, 32), (19, 37), (3, 5)])
def test_cells_match_a_computation_by_hand(stride, size):
    target = np.random.default_rng(stride).choice(np.array([0, 1, 2, IGNORED], np.uint8), size, p=[0.5, 0.2, 0.2, 0.1])
    target = target.repeat(2, 0).repeat(2, 1)[: size[0], : size[1]]
    target[:8, :8] = IGNORED  # cells without a counted pixel
    values = cells_by_hand(target, stride)
    best, second = np.sort(values, axis=0)[:-3:-1]
    decided = best - second > 1e-5
    found = at_stride(torch.from_numpy(target), stride).numpy()
    np.testing.assert_array_equal(found[decided], values.argmax(0)[decided])
    assert decided.any() or (target == IGNORED).all()


def test_ignored_pixels_do_not_count():
    target = torch.full((16, 16), IGNORED, dtype=torch.uint8)
    target[:, 7] = 1
    assert (at_stride(target, 8)[:, :8] == 1).all()  # the only class of its cells
    counts = limit_counts(target, 2)
    assert counts[1].tolist() == [[0, 16], [0, 16], [0, 16]]  # correct, target and predicted pixels of both classes
    everything = torch.full((8, 8), IGNORED, dtype=torch.uint8)
    assert torch.equal(at_stride(everything, 4), everything)
    assert all(values.isnan().all() for values in limit_iou(limit_counts(everything, 2)).values())


@pytest.mark.parametrize("pixels", MOVES)
@pytest.mark.parametrize("width", [4, 10])
def test_moved_stripes(width, pixels):
    # Moved across, w - d of w columns stay right: IoU (w - d) / (w + d). Moved along, nothing changes.
    target = stripes(width, 10)
    target = torch.cat([target, target[:, :pixels]], dim=1)  # so that the overlap has whole periods
    across = (width - pixels) / (width + pixels)
    assert iou_at(target, f"moved {pixels} px") == pytest.approx([(across + 1) / 2] * 2)


@pytest.mark.parametrize("pixels", MOVES)
def test_opposite_moves_are_equal(pixels):
    target = torch.from_numpy(np.random.default_rng(pixels).integers(0, 3, (12, 15)).astype(np.uint8))
    opposite = limit_iou(limit_counts(target.flip(0, 1), 3))
    assert opposite[f"moved {pixels} px"].tolist() == pytest.approx(iou_at(target, f"moved {pixels} px", 3))


def test_pixels_ignored_in_either_position_do_not_count():
    target = torch.zeros(10, 20, dtype=torch.uint8)
    target[:, 5:] = 1
    target[:, 8] = IGNORED
    (right, right_part), (down, down_part) = moved(target, 2)
    assert right.shape == right_part.shape == (10, 18)
    # Columns 8 and 10 of the image: ignored themselves, or covered by an ignored pixel.
    assert (right_part != IGNORED).sum() == 10 * (18 - 2)
    assert (down_part != IGNORED).sum() == 8 * 19
    assert torch.equal(down[down_part != IGNORED], down_part[down_part != IGNORED])
    assert ((right != right_part) & (right_part != IGNORED)).sum() == 10 * 2  # two columns after the edge


def test_images_add_up():
    first, second = stripes(3, 12), stripes(6, 8)
    counts = torch.stack([limit_counts(target, 2) for target in (first, second)]).sum(0)
    # The pixels of both images together: half of the first are right (see above), and all of the second.
    correct = first.numel() // 2 + second.numel()
    union = 2 * (first.numel() + second.numel()) - correct
    assert limit_iou(counts)["stride 4"].tolist() == pytest.approx([correct / union] * 2)
