"""What a perfect network could score: closed forms on stripes."""

import pytest
import torch
from helpers.commands import refinenet
from helpers.fake_data import make_camvid

from refinenet_pl.evaluation.ceiling import at_stride, ceilings, moved
from refinenet_pl.evaluation.metrics import class_iou


def stripes(width: int, count: int, height: int = 32) -> torch.Tensor:
    """Vertical stripes of two classes in turn."""
    return (torch.arange(width * count) // width % 2).to(torch.uint8).repeat(height, 1)


def stripe(start: int, stop: int, size: int = 64) -> torch.Tensor:
    """One vertical stripe of class 1."""
    target = torch.zeros(size, size, dtype=torch.uint8)
    target[:, start:stop] = 1
    return target


@pytest.mark.parametrize("stride", [4, 8, 32])
def test_aligned_stripes_survive(stride):
    target = stripes(stride, 6, 64)
    assert torch.equal(at_stride(target, stride), target)


def test_stripes_of_half_a_cell_become_one_class():
    target = stripes(4, 16)
    assert torch.equal(at_stride(target, 8), torch.zeros_like(target))  # of equal fractions, the first class
    iou = class_iou(ceilings(target, 2, [8], [])["stride 8"])
    assert iou.tolist() == [0.5, 0.0]


@pytest.mark.parametrize(("width", "predicted"), [(2, 0), (4, 0), (6, 6), (8, 8)])
def test_stripe_in_a_cell(width, predicted):
    # A fraction of width / 8 falls linearly to 0 in the next cells' centers, 8 pixels away, so that it exceeds 1/2
    # within 8 (1 - 4 / width) pixels of the center: 2.67 for a width of 6, which are 3 pixels on each side.
    start = 24 + (8 - width) // 2
    found = at_stride(stripe(start, start + width), 8)
    assert (found == 1).sum(1).unique().tolist() == [predicted]


def test_ignored_pixels_do_not_count():
    target = torch.full((16, 16), 255, dtype=torch.uint8)
    target[:, 7] = 1
    assert (at_stride(target, 8)[:, :8] == 1).all()  # the only class of its cells
    assert ceilings(target, 2, [8], [])["stride 8"].sum() == 16
    everything = torch.full((8, 8), 255, dtype=torch.uint8)
    assert torch.equal(at_stride(everything, 4), everything)


def test_sizes_that_the_stride_does_not_divide():
    target = torch.cat([stripes(8, 4, 30), torch.ones(30, 3, dtype=torch.uint8)], dim=1)
    assert at_stride(target, 8).shape == (30, 35)
    assert torch.equal(at_stride(target[:, :32], 8), target[:, :32])


@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize("width", [4, 10])
def test_moved_stripes(width, pixels):
    target = stripes(width, 2 * 5)
    target = torch.cat([target, target[:, :pixels]], dim=1)  # the overlap has whole periods
    (right, right_part), (down, down_part) = moved(target, pixels)
    matrix = ceilings(target, 2, [], [pixels])[f"{pixels} px off"]
    alone = torch.zeros(2, 2, dtype=torch.int64)
    alone.view(-1).scatter_add_(
        0, (2 * right_part.long() + right.long()).flatten(), torch.ones(right.numel(), dtype=torch.int64)
    )
    assert class_iou(alone).tolist() == pytest.approx([(width - pixels) / (width + pixels)] * 2)
    assert torch.equal(down, down_part)  # stripes do not change when they are moved along
    counted = right.numel() + down.numel()
    wrong = right.numel() * pixels / width
    assert matrix.sum() == counted
    assert matrix.diagonal().sum() == counted - wrong


def test_ignored_pixels_are_ignored_in_both_positions():
    target = stripe(20, 40)
    target[:, 18:22] = 255
    matrix = ceilings(target, 2, [], [1])["1 px off"]
    # moved to the right: the columns 18..22 are ignored in one or the other; down: the columns 18..21
    assert matrix.sum() == 64 * (63 - 5) + 63 * (64 - 4)
    assert matrix[0, 1] + matrix[1, 0] == 64  # one column at the right edge of the stripe


def test_command_prints_the_table(tmp_path, monkeypatch, capsys):
    make_camvid(tmp_path)
    assert refinenet(monkeypatch, "data", "ceiling", "camvid", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ceiling of IoU %, val: 3 images" in lines[0]
    rows = {cells[1].strip(): cells[2:7] for cells in (line.split("│") for line in lines) if len(cells) > 6}
    assert [*rows][-1] == "mean IoU"
    # Blocks of 8 pixels survive strides of 4 and 8 but for some of their corners, and not a stride of 32.
    fine, coarse, lost = (float(cell) for cell in rows["mean IoU"][:3])
    assert 100 > fine > coarse > 95
    assert lost < 30
    moved_by = [float(cell) for cell in rows["mean IoU"][3:]]
    assert 100 > moved_by[0] > moved_by[1] > 50
