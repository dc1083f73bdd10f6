"""A study whose cells train in seconds on fake CamVid."""

from pathlib import Path
from typing import Any

import yaml

from helpers.fake_data import make_camvid

ENCODER = "tu-test_resnet.r160_in1k"
POOLING = {
    "none": {"model.network.init_args.pooling": None},
    "original": {"model.network.init_args.pooling": "original"},
}


def write_study(folder: Path, name: str = "tiny", **changes: Any) -> Path:
    """Write data, a base experiment and a study of chained pooling; `changes` replace what the study says."""
    if not (folder / "camvid").is_dir():
        make_camvid(folder / "camvid", train=4, val=3)
    data = {"root": str(folder / "camvid"), "batch_size": 2, "num_workers": 0, "crop_size": [32, 48]}
    base = {
        "model": {
            "network": {
                "class_path": "LightWeightRefineNet",
                "init_args": {"encoder_name": ENCODER, "encoder_weights": None},
            }
        },
        "data": {"class_path": "CamVidDataModule", "init_args": data},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    study = {"base": "base.yaml", "factors": {"pooling": POOLING}, "image_size": [48, 64]} | changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path
