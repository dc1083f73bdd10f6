"""The data package imports Lightning and its data modules only on use."""

import subprocess
import sys

import pytest

from refinenet_pl import data

CHEAP = """
import sys
import refinenet_pl.data.classes
assert "torch" not in sys.modules, "classes loads torch"
import refinenet_pl.data, refinenet_pl.images, refinenet_pl.data.dataset, refinenet_pl.data.transforms
assert "pytorch_lightning" not in sys.modules, "reading images loads Lightning"
assert "refinenet_pl.data.camvid" not in sys.modules
refinenet_pl.data.CamVidDataModule
assert {"pytorch_lightning", "refinenet_pl.data.camvid"} <= sys.modules.keys()
assert "refinenet_pl.data.voc" not in sys.modules
"""


def test_import_is_cheap():
    done = subprocess.run([sys.executable, "-c", CHEAP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_names_are_found():
    assert set(data.__all__) <= set(dir(data))
    for name in data.__all__:
        assert getattr(data, name).__name__ == name


def test_unknown_name_is_refused():
    with pytest.raises(AttributeError, match=r"'refinenet_pl\.data' has no attribute 'ImageNetDataModule'"):
        data.ImageNetDataModule  # noqa: B018
    assert not hasattr(data, "UserError")
