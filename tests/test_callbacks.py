"""The files of pictures and predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.fake_data import PALETTE
from helpers.probes import predict
from helpers.tiny_fit import CLASSES, SQUARE, TinyData, tiny_sample, tiny_task, tiny_trainer
from PIL import Image
from torch.utils.data import DataLoader

from refinenet_pl.data.loaders import evaluation_loader
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.panel import panel
from refinenet_pl.evaluation.pictures import overlay
from refinenet_pl.prediction_folder import PredictionFolder
from refinenet_pl.training.picture_writer import PictureWriter
from refinenet_pl.training.prediction_writer import PredictionWriter


def rgb(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def pixels(sample: dict[str, Any]) -> np.ndarray:
    return sample["image"].permute(1, 2, 0).numpy()


def test_pictures_show_the_last_validation(tmp_path: Path):
    task, data = tiny_task(), TinyData()
    tiny_trainer(tmp_path, max_epochs=2, callbacks=[PictureWriter(count=2)]).fit(task, datamodule=data)
    first, second, third = data.splits["val"]
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"s10.png", "s11.png"}
    for sample in (first, second):
        masks = sample["mask"].numpy(), predict(task, sample)
        expected = panel(pixels(sample), *masks, CLASSES.names, CLASSES.colors)
        np.testing.assert_array_equal(rgb(tmp_path / "pictures" / f"{sample['name']}.png"), expected)
    assert third["name"] == "s12"


def test_sanity_check_writes_no_pictures(tmp_path: Path):
    options: dict[str, Any] = {"num_sanity_val_steps": 2, "check_val_every_n_epoch": 2}
    tiny_trainer(tmp_path, callbacks=[PictureWriter()], **options).fit(tiny_task(), datamodule=TinyData())
    assert not (tmp_path / "pictures").exists()


def test_picture_names_keep_subfolders(tmp_path: Path):
    sample = tiny_sample(SQUARE, seed=0) | {"name": "frankfurt/frankfurt_000000"}
    trainer = tiny_trainer(tmp_path, callbacks=[PictureWriter()])
    trainer.validate(tiny_task(), datamodule=TinyData(val=[sample]), verbose=False)
    assert (tmp_path / "pictures" / "frankfurt" / "frankfurt_000000.png").is_file()


def test_pictures_never_lie_outside(tmp_path: Path):
    sample = tiny_sample(SQUARE, seed=0) | {"name": "../../labels"}
    trainer = tiny_trainer(tmp_path / "a" / "b", callbacks=[PictureWriter()])
    with pytest.raises(UserError, match=r"'\.\./\.\./labels\.png': cannot be the name of a file in .*pictures"):
        trainer.validate(tiny_task(), datamodule=TinyData(val=[sample]), verbose=False)
    assert not list(tmp_path.rglob("labels*"))


def test_predictions_never_lie_outside(tmp_path: Path):
    sample = tiny_sample(SQUARE, seed=0) | {"name": "../../labels"}
    trainer = tiny_trainer(tmp_path, callbacks=[PredictionWriter(PredictionFolder(tmp_path / "a" / "out"))])
    with pytest.raises(UserError, match=r"'\.\./\.\./labels\.png': cannot be the name of a file in .*out"):
        trainer.predict(tiny_task(), DataLoader([sample], batch_size=None))  # type: ignore[arg-type]
    assert not list(tmp_path.rglob("labels*"))


def test_predictions_are_masks_and_overlays(tmp_path: Path):
    task = tiny_task()
    samples = [tiny_sample(size, seed) for seed, size in enumerate([(65, 97), (48, 33)])]
    samples[1]["name"] = "folder/inner"
    images = [{"image": sample["image"], "name": sample["name"]} for sample in samples]
    trainer = tiny_trainer(tmp_path, callbacks=[PredictionWriter(PredictionFolder(tmp_path / "out"), opacity=0.3)])
    trainer.predict(task, evaluation_loader(images, num_workers=0), return_predictions=False)  # type: ignore[arg-type]

    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert written == {f"{kind}/{name}.png" for kind in ("masks", "overlays") for name in ("s0", "folder/inner")}
    for sample in samples:
        prediction = predict(task, sample)
        with Image.open(tmp_path / "out" / "masks" / f"{sample['name']}.png") as mask:
            assert mask.mode == "P"
            np.testing.assert_array_equal(np.asarray(mask), prediction)
        np.testing.assert_array_equal(rgb(tmp_path / "out" / "masks" / f"{sample['name']}.png"), PALETTE[prediction])
        overlaid = overlay(pixels(sample), prediction, CLASSES.colors, 0.3)
        np.testing.assert_array_equal(rgb(tmp_path / "out" / "overlays" / f"{sample['name']}.png"), overlaid)
