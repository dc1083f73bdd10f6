"""Encoder weights from a file, for networks that cannot read one themselves."""

import pytest
import segmentation_models_pytorch as smp
import torch
from helpers.commands import TINY_TRAINER, only_run, refinenet
from torch import nn
from torchvision.models import mobilenet_v2

from refinenet_pl.errors import UserError
from refinenet_pl.networks import LightWeightRefineNet
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.task import SegmentationTask

CLASSES = Preprocessing(class_names=["a", "b"], class_colors=[[0, 0, 0], [1, 1, 1]])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file in torchvision's format, with random weights."""
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v2.pth"
    torch.save(mobilenet_v2().state_dict(), path)
    return path


@pytest.mark.parametrize("network", [smp.Unet, smp.DeepLabV3Plus, LightWeightRefineNet])
def test_file_fills_exactly_the_encoder(network, file):
    torch.manual_seed(0)
    made = network("mobilenet_v2", encoder_weights=None, classes=2)
    rest = {key: value.clone() for key, value in made.state_dict().items() if not key.startswith("encoder.")}
    state = SegmentationTask(made, CLASSES, encoder_weights=str(file)).network.state_dict()
    published = torch.load(file)
    encoder = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    assert len(encoder) > 250
    assert all(torch.equal(value, published[key]) for key, value in encoder.items())
    assert all(torch.equal(state[key], value) for key, value in rest.items())


def test_refuses_network_without_encoder(file):
    with pytest.raises(UserError, match="Conv2d has no attribute `encoder`"):
        SegmentationTask(nn.Conv2d(3, 2, 1), CLASSES, encoder_weights=str(file))


def test_evaluation_needs_no_encoder_file(file, fake_camvid, tmp_path, monkeypatch):
    copy = tmp_path / "weights.pth"
    copy.write_bytes(file.read_bytes())
    network = ["--model.network=segmentation_models_pytorch.FPN", "--model.network.encoder_name=mobilenet_v2"]
    data = ["--data=CamVidDataModule", f"--data.root={fake_camvid}", "--data.num_workers=0"]
    options = ["--model.network.encoder_weights=null", f"--model.encoder_weights={copy}", "--data.batch_size=2"]
    # With crops of 32 pixels, batch norm would see one pixel of each image, and its gradients overflow.
    small = ["--data.crop_size=[64,64]", "--trainer.max_epochs=1", *TINY_TRAINER]
    assert refinenet(monkeypatch, "fit", *network, *data, *options, *small, f"--runs={tmp_path}/runs") == 0
    copy.unlink()
    best = RunFolder(only_run(tmp_path / "runs")).best_checkpoint
    assert refinenet(monkeypatch, "validate", "--ckpt_path", best, f"--runs={tmp_path}/validated") == 0
