"""The parts of a configuration that follow from the data and the encoder."""

from typing import Any

import pytest
from jsonargparse import Namespace

from refinenet_pl.cli.completion import complete

NETWORK = "refinenet_pl.networks.LightWeightRefineNet"


def parsed(mean: list[float] | None = None, encoder: str = "resnet50", **data: Any) -> Namespace:
    """A parsed configuration with CamVid, before completion."""
    arguments = Namespace(encoder_name=encoder, encoder_weights=None, classes=1)
    preprocessing = Namespace(mean=mean, std=None, class_names=[], class_colors=[])
    network = Namespace(class_path=NETWORK, init_args=arguments)
    section = Namespace(class_path="refinenet_pl.data.CamVidDataModule", init_args=Namespace(**data))
    return Namespace(model=Namespace(network=network, preprocessing=preprocessing), data=section)


def test_imagenet_means_give_its_mean_color():
    config = parsed(pad_color=None)
    complete(config)
    assert config.data.init_args.pad_color == (124, 116, 104)


def test_padding_follows_a_given_mean():
    config = parsed(mean=[0.1, 0.2, 0.4], pad_color=None)
    complete(config)
    assert config.model.preprocessing.mean == [0.1, 0.2, 0.4]
    assert config.model.preprocessing.std == pytest.approx([0.229, 0.224, 0.225])
    assert config.data.init_args.pad_color == (26, 51, 102)


def test_given_pad_color_is_kept():
    config = parsed(pad_color=(1, 2, 3))
    complete(config)
    assert config.data.init_args.pad_color == (1, 2, 3)


def test_data_without_pad_color_gets_none():
    config = parsed()
    complete(config)
    assert "pad_color" not in config.data.init_args


def test_prediction_needs_no_data():
    config = parsed(mean=[0.5] * 3)
    del config["data"]
    config.model.preprocessing.class_names = ["a"]
    complete(config)
    assert config.model.preprocessing.class_names == ["a"]
