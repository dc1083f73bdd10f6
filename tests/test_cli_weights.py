"""`refinenet weights`, and the commands that take a weights folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
import yaml
from helpers.commands import TINY_TRAINER, fit_options, only_run, refinenet
from helpers.fake_data import make_voc
from helpers.published_weights import draw, published_shapes
from PIL import Image
from safetensors.torch import load_file

from refinenet_pl import load
from refinenet_pl.data.camvid import CAMVID
from refinenet_pl.data.classes import VOC
from refinenet_pl.data.nyudv2 import NYUDV2
from refinenet_pl.data.person_part import PERSON_PART
from refinenet_pl.weights import load_published
from refinenet_pl.weights.checkpoint import CONFIG_KEY

FPN = ["--model.network=segmentation_models_pytorch.FPN", "--model.network.encoder_name=tu-test_resnet.r160_in1k"]
WITHOUT_WORKERS = "--num_workers=0"


@pytest.fixture(scope="module")
def exported(trained_run, tmp_path_factory):
    """The weights folder of the run's best checkpoint."""
    folder = tmp_path_factory.mktemp("weights") / "fake"
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "weights", "export", trained_run / "checkpoints" / "best.ckpt", "--output", folder) == 0
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A published file with 21 classes, in the form that training on several GPUs wrote."""
    path = tmp_path_factory.mktemp("published") / "rf_lwmbv2_voc.pth.tar"
    state = draw(published_shapes("mobilenet", "mobilenet_v2"), seed=5)
    torch.save({"segmenter": {f"module.{key}": value for key, value in state.items()}, "epoch_start": 9}, path)
    return path


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.array(Image.open(path)) for path in (folder / "masks").glob("*.png")}


def test_averaged_weights_are_exported(trained_run, exported):
    saved = torch.load(trained_run / "checkpoints" / "best.ckpt")
    weights = load_file(exported / "model.safetensors")
    averaged = {key.removeprefix("network."): value for key, value in saved["state_dict"].items()}
    assert weights.keys() == averaged.keys()
    assert all(torch.equal(value, averaged[key]) for key, value in weights.items())
    last = saved["current_model_state"]["network.segmentation_head.0.weight"]
    assert not torch.equal(weights["segmentation_head.0.weight"], last)
    files = {path.name for path in exported.iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors", "preprocessing.json"}


def test_preprocessing_is_exported(trained_run, exported):
    config = yaml.safe_load((trained_run / "config.yaml").read_text())["model"]["preprocessing"]
    preprocessing = json.loads((exported / "preprocessing.json").read_text())
    assert preprocessing["class_names"] == config["class_names"] == list(CAMVID.names)
    assert preprocessing["class_colors"] == [list(color) for color in CAMVID.colors]
    assert (preprocessing["mean"], preprocessing["std"]) == (config["mean"], config["std"])


def test_card_describes_the_run(trained_run, exported):
    _, front, text = (exported / "README.md").read_text().split("---\n", maxsplit=2)
    assert yaml.safe_load(front)["pipeline_tag"] == "image-segmentation"
    results = json.loads((trained_run / "results.json").read_text())
    assert f"| **mean IoU** | {100 * results['miou']:.2f} |" in text
    for words in ("# fake", "AdamW(lr=0.01", "EMA(decay=0.999)", "CC BY-NC 4.0", f"torch {torch.__version__}"):
        assert words in text
    assert str(trained_run) not in text
    assert "root=camvid" in text


def test_moved_checkpoint_has_no_metrics(trained_run, tmp_path, monkeypatch):
    checkpoint = tmp_path / "moved.ckpt"
    checkpoint.write_bytes((trained_run / "checkpoints" / "best.ckpt").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert refinenet(monkeypatch, "weights", "export", checkpoint) == 0
    assert "## Metrics\n\nUnknown.\n" in (tmp_path / "fake" / "README.md").read_text()


def test_folder_predicts_as_its_checkpoint(trained_run, exported, fake_camvid, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        for name, weights in (("checkpoint", trained_run / "checkpoints" / "best.ckpt"), ("folder", exported)):
            options = ["--ckpt_path", weights, "--images", fake_camvid / "val", "--output", tmp_path / name]
            assert refinenet(patch, "predict", *options, *TINY_TRAINER, WITHOUT_WORKERS) == 0
    checkpoints, folders = masks(tmp_path / "checkpoint"), masks(tmp_path / "folder")
    assert len(checkpoints) == 3
    for name, mask in checkpoints.items():
        np.testing.assert_array_equal(folders[name], mask)
        for path in (trained_run, exported):
            np.testing.assert_array_equal(load(path).predict(fake_camvid / "val" / name), mask)


def test_predict_needs_no_training_data(trained_run, fake_camvid, tmp_path, monkeypatch):
    saved = torch.load(trained_run / "checkpoints" / "best.ckpt")
    saved[CONFIG_KEY] = saved[CONFIG_KEY].replace("refinenet_pl.data.CamVidDataModule", "not_installed.MyData")
    torch.save(saved, tmp_path / "other.ckpt")
    options = ["--ckpt_path", tmp_path / "other.ckpt", "--images", fake_camvid / "val", "--output", tmp_path / "out"]
    assert refinenet(monkeypatch, "predict", *options, WITHOUT_WORKERS) == 0
    assert len(masks(tmp_path / "out")) == 3


def test_folder_scores_as_its_checkpoint(trained_run, exported, fake_camvid, tmp_path, monkeypatch):
    source = [f"--data.root={fake_camvid}", "--data.num_workers=0", f"--runs={tmp_path}"]
    options = ["--ckpt_path", exported, "--data=CamVidDataModule", *source, *TINY_TRAINER]
    assert refinenet(monkeypatch, "validate", *options) == 0
    evaluated = only_run(tmp_path)
    results = json.loads((evaluated / "results.json").read_text())
    assert results["confusion_matrix"] == json.loads((trained_run / "results.json").read_text())["confusion_matrix"]
    assert results["config"]["ckpt_path"] == str(exported)
    assert evaluated.parent.name == "fake"


def test_data_with_other_classes_is_refused(exported, tmp_path, monkeypatch, capsys):
    options = ["--ckpt_path", exported, "--data=VOCDataModule", f"--data.root={tmp_path}", f"--runs={tmp_path}"]
    assert refinenet(monkeypatch, "validate", *options) == 2
    error = capsys.readouterr().err
    assert "11 classes" in error
    assert "VOCDataModule has 21" in error


def test_fit_cannot_resume_a_folder(exported, fake_camvid, tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "fit", *fit_options(fake_camvid, tmp_path), "--ckpt_path", exported) == 2
    assert str(exported) in capsys.readouterr().err


def test_smp_reads_exported_smp_network(fake_camvid, tmp_path, monkeypatch):
    options = [*fit_options(fake_camvid, tmp_path / "runs"), *FPN, "--model.network.encoder_weights=null"]
    assert refinenet(monkeypatch, "fit", *options, "--trainer.max_epochs=1") == 0
    checkpoint = only_run(tmp_path / "runs") / "checkpoints" / "best.ckpt"
    assert refinenet(monkeypatch, "weights", "export", checkpoint, "--output", tmp_path / "fpn") == 0
    network = smp.from_pretrained(tmp_path / "fpn")
    saved = torch.load(checkpoint)["state_dict"]
    assert all(torch.equal(value, saved[f"network.{key}"]) for key, value in network.state_dict().items())


def test_converted_file_predicts(published, tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "weights", "convert", published, "--output", tmp_path / "voc") == 0
    output = capsys.readouterr().out
    for words in ("Light-Weight RefineNet with MobileNet-v2", "{'segmenter': ...}", "339", "PASCAL VOC's"):
        assert words in output
    pixels = np.random.default_rng(0).integers(0, 256, (65, 97, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    options = ["--ckpt_path", tmp_path / "voc", "--images", tmp_path / "photo.png", "--output", tmp_path / "out"]
    assert refinenet(monkeypatch, "predict", *options, *TINY_TRAINER, WITHOUT_WORKERS) == 0
    normal = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    image = torch.from_numpy(normal.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = load_published(published).network.forward_logits(image)
    expected = F.interpolate(logits, size=(65, 97), mode="bilinear").argmax(1)[0].numpy()
    mask = Image.open(tmp_path / "out" / "masks" / "photo.png")
    assert (np.array(mask) == expected).mean() > 0.999  # float32: a tie may fall either way
    assert len(np.unique(expected)) > 1
    palette = mask.getpalette()
    assert palette is not None
    assert palette[:63] == [channel for color in VOC.colors for channel in color]


def test_converted_file_is_evaluated(published, tmp_path, monkeypatch):
    root = make_voc(tmp_path / "data", train=["a"], val=["b", "c"])
    data_section = {"class_path": "VOCDataModule", "init_args": {"root": str(root), "num_workers": 0}}
    (tmp_path / "voc.yaml").write_text(yaml.safe_dump({"data": data_section}))
    assert refinenet(monkeypatch, "weights", "convert", published, "--output", tmp_path / "voc") == 0
    options = ["--ckpt_path", tmp_path / "voc", "--config", tmp_path / "voc.yaml", "--runs", tmp_path / "runs"]
    assert refinenet(monkeypatch, "validate", *options, *TINY_TRAINER) == 0
    results = json.loads((only_run(tmp_path / "runs") / "results.json").read_text())
    assert (results["images"], list(results["per_class_iou"])) == (2, list(VOC.names))


@pytest.mark.parametrize(
    ("classes", "options", "names"),
    [
        (21, [], VOC.names),
        (5, [], [f"class {i}" for i in range(5)]),
        (11, ["--dataset=camvid"], CAMVID.names),
        (40, ["--dataset=nyudv2"], NYUDV2.names),
        (7, ["--dataset=person_part"], PERSON_PART.names),
    ],
)
def test_convert_names_classes(classes, options, names, tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    torch.save(draw(published_shapes("mobilenet", "mobilenet_v2", classes), seed=1), path)
    monkeypatch.chdir(tmp_path)
    assert refinenet(monkeypatch, "weights", "convert", path, *options) == 0
    assert json.loads((tmp_path / "weights" / "preprocessing.json").read_text())["class_names"] == list(names)


def test_unfitting_dataset_is_refused(published, tmp_path, monkeypatch, capsys):
    options = [published, "--output", tmp_path / "out", "--dataset", "camvid"]
    assert refinenet(monkeypatch, "weights", "convert", *options) == 2
    assert "camvid has 11 classes, but the network has 21" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_convert_lists_keys(published, tmp_path, monkeypatch, capsys):
    options = [published, "--output", tmp_path / "out", "--ignore", "segm.bias", "conv3.weight", "--keys", "true"]
    assert refinenet(monkeypatch, "weights", "convert", *options) == 0
    output = capsys.readouterr().out
    assert "segm.bias, conv3.weight" in output
    assert "conv8.weight -> decoder.blocks.0.reduce.0.weight\n" in output
    assert "segm.bias, conv3.weight" in (tmp_path / "out" / "README.md").read_text()


def test_unknown_command_lists_family(monkeypatch, capsys):
    assert refinenet(monkeypatch, "weights", "covert") == 2
    assert "expected one of: weights convert, weights export" in capsys.readouterr().err


def test_family_alone_shows_help(monkeypatch, capsys):
    assert refinenet(monkeypatch, "weights") == 0
    shown = capsys.readouterr().out
    assert "weights convert" in shown
    assert "study run" not in shown
