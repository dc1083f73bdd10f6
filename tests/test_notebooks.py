"""The notebooks run, with few steps and a small dataset."""

import json
from pathlib import Path

import pytest

from refinenet_pl.data import scenes

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_cells_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(scenes, "SPLITS", {"train": range(8), "val": range(8, 10), "test": range(10, 11)})
    names: dict = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("STEPS = 60", "STEPS = 2")
            exec(compile(source, path.name, "exec"), names)
    assert names["prediction"].shape == names["sample"]["mask"].shape
