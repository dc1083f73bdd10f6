"""What is shown of a cell while a study runs."""

import re
import time

import pytest
from helpers.tiny_study import write_study

from refinenet_pl.files import write_json
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.commands import cell_groups
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.pool import Progress
from refinenet_pl.studies.table import LiveTable, State, cell_state

METRICS = "epoch,step,train/loss,val/miou\n0,9,2.5,\n0,19,1.5,\n0,19,,0.25\n1,119,1.0,\n"


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ({"step": 0, "planned_steps": 320}, "step 120 of 320, 3 min 20 s left"),  # 200 steps of 1 s
        ({"step": 60, "planned_steps": 1120}, "step 120 of 1,120, 33 min 20 s left"),  # 1,000 steps of 2 s
        ({"step": 0, "planned_steps": None}, "step 120"),
        ({"step": 120, "planned_steps": 320}, "step 120 of 320"),  # no step since it was resumed
        ({"step": 0}, "step 120"),  # the training has not started yet
    ],
)
def test_position_and_time_left(part, shown, tmp_path, monkeypatch):
    (group,) = cell_groups(load_study(write_study(tmp_path, factors={"test": {"one": {}}})), tmp_path, {})
    cell = group.cells[0]
    run = RunFolder(group.folder(cell).path / "20261130-000000-0000")
    run.path.mkdir(parents=True)
    run.config.write_text("{}")
    run.metrics.write_text(METRICS)
    write_json(run.history, {"id": "a", "parts": [{"step": 0}, part]})
    monkeypatch.setattr(time, "time", lambda: 1120.0)
    state = cell_state(group.folder(cell), cell.name, Progress(running={cell.name: 1000.0}))
    assert state == State("running", shown, "25.00", "2 min 00 s", 10 * 120 // (part.get("planned_steps") or 2000))
    stopped = cell_state(group.folder(cell), cell.name, Progress())
    assert stopped == State("waiting", re.sub(", [^,]* left$", "", shown), "25.00")


def test_pipe_gets_a_line_per_state_validation_and_tenth(tmp_path, capsys):
    (group,) = cell_groups(load_study(write_study(tmp_path, factors={"test": {"one": {}}})), tmp_path, {})
    cell = group.cells[0]
    run = RunFolder(group.folder(cell).path / "20261130-000000-0000")
    run.path.mkdir(parents=True)
    run.config.write_text("{}")
    write_json(run.history, {"id": "a", "parts": [{"step": 0, "planned_steps": 320}]})
    running = Progress(running={cell.name: time.time()})
    lines = METRICS.splitlines()
    with LiveTable([group]) as shown:
        shown.update(Progress())
        for end in range(1, len(lines) + 1):
            run.metrics.write_text("\n".join(lines[:end]) + "\n")
            shown.update(running)
    told = [re.sub(r", \d+ s( left)?", "", line) for line in capsys.readouterr().out.splitlines()]
    assert told == [
        f"{cell.name}: waiting",
        f"{cell.name}: running",
        f"{cell.name}: running, step 20 of 320, val mIoU 25.00 %",
        f"{cell.name}: running, step 120 of 320, val mIoU 25.00 %",
    ]
