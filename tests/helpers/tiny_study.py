"""Studies whose cells train in seconds on fake data."""

from pathlib import Path
from typing import Any

import yaml

from helpers.fake_data import make_camvid

NETWORK = {
    "class_path": "LightWeightRefineNet",
    "init_args": {"encoder_name": "tu-test_resnet.r160_in1k", "encoder_weights": None},
}
TRAINER = {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1}
LOADER = {"batch_size": 2, "num_workers": 0}
CROP_SIZE = [32, 48]
POOLING = {
    "none": {"model.network.init_args.pooling": None},
    "original": {"model.network.init_args.pooling": "original"},
}


def write_yaml(path: Path, content: dict[str, Any]) -> Path:
    """Write a mapping as YAML, in its own order."""
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def write_study(folder: Path, name: str = "tiny", **changes: Any) -> Path:
    """Write fake CamVid, a base experiment and a study of chained pooling; `changes` replace keys of the study."""
    if not (folder / "camvid").is_dir():
        make_camvid(folder / "camvid", train=4, val=3)
    data = {"root": str(folder / "camvid"), "crop_size": CROP_SIZE, **LOADER}
    base = {
        "model": {"network": NETWORK},
        "data": {"class_path": "CamVidDataModule", "init_args": data},
        "trainer": TRAINER,
    }
    write_yaml(folder / "base.yaml", base)
    study = {"base": "base.yaml", "factors": {"pooling": POOLING}, "image_size": [48, 64]} | changes
    return write_yaml(folder / f"{name}.yaml", study)


def write_datasets_study(folder: Path, **changes: Any) -> Path:
    """Write a study of two datasets, CamVid and Person-Part, and no data; `changes` replace keys of the study."""
    for name, module in {"camvid": "CamVidDataModule", "person_part": "PersonPartDataModule"}.items():
        arguments = {"root": str(folder / name), "crop_size": CROP_SIZE, "batch_size": 7}
        write_yaml(folder / f"{name}.yaml", {"data": {"class_path": module, "init_args": arguments}})
    recipe = {"model": {"network": NETWORK}, "data": {"init_args": LOADER}, "trainer": TRAINER}
    write_yaml(folder / "recipe.yaml", recipe)
    study = {
        "base": "recipe.yaml",
        "datasets": {"camvid": {"base": "camvid.yaml"}, "person_part": {"base": "person_part.yaml"}},
        "factors": {"pooling": POOLING},
        "image_size": [48, 64],
    }
    return write_yaml(folder / "two.yaml", study | changes)
