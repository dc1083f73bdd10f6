"""The notebooks run in a kernel, with fewer steps than for their stored outputs, and show what their files hold."""

import json
import re

import nbformat
import numpy as np
import pytest
import torch
from helpers.notebooks import NOTEBOOKS, execute
from PIL import Image
from safetensors.torch import load_file

from refinenet_pl import load
from refinenet_pl.data.scenes_painter import SCENES, paint_scene

CHANGES = {
    "1_quickstart": {
        "max_epochs 2 ": "max_epochs 1 --trainer.limit_train_batches 2 --trainer.limit_val_batches 4 ",
        "check_val_every_n_epoch 2": "check_val_every_n_epoch 1",
    },
    "2_inside_refinenet": {
        "STEPS, BATCH = 60, 8": "STEPS, BATCH = 1, 2",
        "count=160": "count=2",
        "IMAGES = 4": "IMAGES = 1",
    },
    "3_ablation": {"limit_train_batches: 40": "limit_train_batches: 2\n  trainer.limit_val_batches: 4"},
    "4_your_data_and_network": {"64, 200": "64, 20", "max_epochs: 8": "max_epochs: 4"},
    "5_published_weights": {
        "limit_train_batches 10": "limit_train_batches 1",
        "limit_val_batches 20": "limit_val_batches 2",
    },
}
"""What makes each notebook quick."""
MACHINE = re.compile(r"/(?:home|root|tmp|opt|usr|var|mnt|Users)/")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The folder in which the scenes are painted, once for all notebooks."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run_notebook(tmp_path, cache):
    """Execute a notebook; return the text of its outputs, and the folder in which it ran."""

    def run(name):
        (path,) = [path for path in NOTEBOOKS if path.stem == name]
        notebook = execute(path, tmp_path, CHANGES[name], XDG_CACHE_HOME=str(cache))
        return outputs(notebook), tmp_path / "notebooks"

    return run


def outputs(notebook):
    """The text that a notebook shows, without colors."""
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in shown)
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def mean_iou(matrix):
    correct = np.diag(matrix)
    with np.errstate(invalid="ignore"):
        return np.nanmean(correct / (matrix.sum(0) + matrix.sum(1) - correct))


def shown_mean_iou(text):
    return float(re.findall(r"mean IoU\s+│\s+([\d.]+)", text)[-1])


def test_quickstart(run_notebook, tmp_path):
    text, folder = run_notebook("1_quickstart")
    (run,) = (folder / "runs" / "quickstart").iterdir()
    results = json.loads((run / "results.json").read_text())
    assert shown_mean_iou(text) == pytest.approx(100 * mean_iou(np.array(results["confusion_matrix"])), abs=0.006)
    mask = load(run).predict(paint_scene(0, 712)[0])
    shares = dict(re.findall(r"(?m)^(\w+) +([\d.]+)% of the pixels", text))
    expected = {name: f"{100 * (mask == index).mean():.1f}" for index, name in enumerate(SCENES.names)}
    assert shares == expected


def test_inside_refinenet(run_notebook):
    text, _ = run_notebook("2_inside_refinenet")
    for count in ("118,052,437", "46,349,653"):  # those of the published networks
        assert f"{count} parameters" in text
    shapes = re.findall(r"RefineNet-(\d): (\S+) -> (\S+) -> (\S+) -> (\S+)", text)
    assert len(shapes) == 8
    for number, reduced, fused, pooled, output in shapes:
        channels, size = {"4": (512, 16), "3": (256, 32), "2": (256, 64), "1": (256, 128)}[number]
        assert reduced == pooled == output == f"{channels}×{size}×{size}"
        assert fused == ("–" if number == "4" else pooled)
    fields = {kind: int(reach) for kind, reach in re.findall(r"pooling (\w+) .*theoretical (\d+)", text)}
    reach = 4 * 2 * (32 + 16 + 8 + 4)  # four poolings at each stride reach two positions further
    assert fields["original"] == fields["improved"] == fields["None"] + reach


def test_own_data_and_network(run_notebook, monkeypatch):
    text, folder = run_notebook("4_your_data_and_network")
    assert "20 samples read: 0 problems" in text
    (run,) = (folder / "runs" / "shapes_own_recipe").iterdir()
    results = json.loads((run / "results.json").read_text())
    monkeypatch.syspath_prepend(folder)
    from own_network import SmallNetwork, SmoothCrossEntropy

    segmenter = load(run, network=SmallNetwork(classes=3, width=48))
    matrix = np.zeros((3, 3), int)
    validated = list(np.load(run / "per_image.npz")["names"])
    assert len(validated) == 4
    for name in validated:
        target = np.asarray(Image.open(folder / "shapes" / "masks" / f"{name}.png"))
        prediction = segmenter.predict(folder / "shapes" / "images" / f"{name}.png")
        np.add.at(matrix, (target[target < 255], prediction[target < 255]), 1)
    assert matrix.tolist() == results["confusion_matrix"]
    assert shown_mean_iou(text) == pytest.approx(100 * mean_iou(matrix), abs=0.006)
    targets = torch.full((1, 4, 4), 255)
    assert SmoothCrossEntropy()(torch.randn(1, 3, 4, 4), targets) == 0
    targets[0, 0, 0] = 1
    logits = torch.randn(1, 3, 4, 4)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(logits[:, :, 0, 0], torch.tensor([1]))
    torch.testing.assert_close(SmoothCrossEntropy()(logits, targets), expected)


def test_published_weights(run_notebook):
    text, folder = run_notebook("5_published_weights")
    published = torch.load(folder / "rf_lwmbv2_random.pth.tar")["segmenter"]
    converted = load_file(folder / "converted" / "model.safetensors")
    assert len(published) == len(converted)
    assert sorted(float(value.double().sum()) for value in published.values()) == sorted(
        float(value.double().sum()) for value in converted.values()
    )
    differences = dict(re.findall(r"(?m)^(\w+ and \w+): +(\S+)$", text))
    assert differences == dict.fromkeys(["file and folder", "folder and original", "segmenter and network"], "0.0")
    assert "1 missing: segm.bias" in text


def test_ablation(run_notebook):
    text, folder = run_notebook("3_ablation")
    shown = re.findall(r"(?m)^(with(?:out)?) +mean IoU ([\d.]+) % .* seeds: ([\d.]+), ([\d.]+)$", text)
    assert [row[0] for row in shown] == ["without", "with"]
    means = []
    for name, mean, *seeds in shown:
        paths = sorted((folder / "runs" / "pooling").glob(f"pooling-{name}_seed-*/*/results.json"))
        values = [100 * mean_iou(np.array(json.loads(path.read_text())["confusion_matrix"])) for path in paths]
        assert [float(seed) for seed in seeds] == pytest.approx(values, abs=0.006)
        assert float(mean) == pytest.approx(np.mean(values), abs=0.006)
        means.append(np.mean(values))
    ((difference, low, high),) = re.findall(r"difference (\S+) points \((\S+) to (\S+)\)", text)
    assert float(difference) == pytest.approx(means[1] - means[0], abs=0.006)
    assert float(low) < float(difference) < float(high)
    needed = [int(seeds.replace(",", "")) for seeds in re.findall(r"(?m)^│ (?:1|3|10) +│ +(?:over )?([\d,]+) │", text)]
    assert len(needed) == 3
    assert needed == sorted(needed, reverse=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs(path):
    """They are small, complete, in order, and say nothing of the machine that made them."""
    assert path.stat().st_size < 300_000
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [output for cell in cells for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "error" or output.get("name") == "stderr"]
    assert not MACHINE.findall(json.dumps([cell.outputs for cell in cells]))
