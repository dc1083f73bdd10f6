"""Seeds that are added until intervals are narrow: which rows get them, and how many stars come up by chance."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.commands import refinenet, refinenet_process
from helpers.drawn_rows import Population
from helpers.fake_study import draw, finish, finish_cell, write_study
from helpers.tiny_study import write_study as write_tiny_study

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.dependence import find_units
from refinenet_pl.evaluation.intervals import estimate, excludes_zero
from refinenet_pl.evaluation.looks import look_level
from refinenet_pl.reports.assemble import assemble
from refinenet_pl.reports.markdown import markdown
from refinenet_pl.reports.more_seeds import add_seeds, interval_width
from refinenet_pl.reports.study_summary import summarize_study
from refinenet_pl.reports.summary import Summary
from refinenet_pl.studies.added_seeds import added_file, with_added_seeds, write_added_seeds
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.study import Study

NONE, ORIGINAL, IMPROVED = (f"pooling-{level}" for level in ("none", "original", "improved"))


@pytest.fixture
def study(tmp_path) -> Study:
    """Two seeds a row. The second row differs from the first by 10 points with each seed, the third by 0 and 20."""
    study = finish(write_study(tmp_path), tmp_path / "runs", unfinished=[f"{IMPROVED}_seed-0", f"{IMPROVED}_seed-1"])
    for cell in study.cells:
        if cell.row == IMPROVED:
            matrices = draw(0.7 + 0.2 * cell.seed, [2, cell.seed, 0], ("road", "car", "traffic light"), 20)
            finish_cell(study, cell, tmp_path / "runs", matrices, cell)
    return replace(study, most_seeds=4)


@pytest.fixture
def summary(study, tmp_path) -> Summary:
    return summarize_study(study, tmp_path / "runs")


def widths(summary: Summary) -> list[float]:
    found = [interval_width(row, "miou") for row in summary.datasets[0].rows[1:]]
    return [width for width in found if width is not None]


def test_wide_rows_and_the_base_row_get_the_next_seed(study, summary):
    narrow, wide = widths(summary)
    assert narrow < wide
    grown, (line,) = add_seeds(study, summary, (narrow + wide) / 2)
    assert grown.added == {NONE: [2], IMPROVED: [2]}
    assert line == f"{IMPROVED}: the interval of its difference is {100 * wide:.2f} points wide; seed 2 is added"
    assert [cell.name for cell in grown.cells][6:] == [f"{NONE}_seed-2", f"{IMPROVED}_seed-2"]
    same, lines = add_seeds(study, summary, 1.1 * wide)
    assert (same is study, lines) == (True, [])


def test_what_seeds_cannot_reach_is_said(study, summary):
    row = summary.datasets[0].rows[2]
    assert row.compared is not None
    low, high = row.compared.estimate.image_interval()[-1]
    same, lines = add_seeds(study, summary, 0.9 * (high - low))
    assert same is study or IMPROVED not in same.added
    assert any(line.endswith("the images alone give more than that, so no seed is added") for line in lines)
    full = replace(study, added={IMPROVED: [2, 3], NONE: [2, 3]})
    same, lines = add_seeds(full, summary, 1.01 * max(widths(summary)[0], high - low))
    assert lines[-1].endswith("with 4 seeds; --max-seeds allows no more")


def test_rows_are_compared_over_common_seeds(study, summary, tmp_path):
    grown, _ = add_seeds(study, summary, sum(widths(summary)) / 2)
    runs = tmp_path / "runs"
    for cell in grown.cells[6:]:
        matrices = draw(0.8, [9, cell.seed, 0], ("road", "car", "traffic light"), 20)
        finish_cell(grown, cell, runs, matrices, cell)
    write_added_seeds(grown, runs)
    read = with_added_seeds(load_study(grown.path), runs)
    assert (read.added, read.most_seeds) == (grown.added, 4)
    base, original, improved = summarize_study(read, runs).datasets[0].rows
    assert [len(row.runs) for row in (base, original, improved)] == [3, 2, 3]
    assert original.compared is not None
    assert (original.compared.a.seeds, original.compared.paired) == ((0, 1), True)
    bases, originals, improveds = (np.array(row.values, float) for row in (base, original, improved))
    expected = originals.mean() - bases[:2].mean()
    assert original.difference == pytest.approx(expected) == pytest.approx(original.compared.estimate.value[-1])
    assert improved.difference == pytest.approx(improveds.mean() - bases.mean())
    text = markdown(assemble(summarize_study(read, runs)))
    assert "Seeds were added to rows with wide intervals, up to 4 a row." in text
    assert "Each mean is over the seeds of its row. Differences are over the seeds that both rows have" in text


def test_looks_divide_the_risk():
    for first, most in ((2, 2), (2, 10), (3, 7)):
        risks = [1 - look_level(first, seeds, most) for seeds in range(first, most + 1)]
        assert sum(risks) == pytest.approx(0.05)
    assert look_level(3, 3, 3) == 0.95


@pytest.mark.parametrize("content", ["[]", '{"most_seeds": 4}', '{"most_seeds": 4, "added": {"row": "all"}}'])
def test_damaged_file(tmp_path, content):
    study = load_study(write_study(tmp_path))
    path = added_file(study, tmp_path / "runs")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match=r"added_seeds\.json: .*delete it"):
        with_added_seeds(study, tmp_path / "runs")


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, ["--only", "seed=0"], "expected no --only"),
        ({"metric": "boundary_iou.mean"}, [], "which has no intervals; expected miou or per_class_iou.CLASS"),
        ({"seeds": [0, 1, 2]}, ["--max-seeds", "2"], "--max-seeds is 2; expected at least 3"),
    ],
)
def test_refused_before_anything_runs(tmp_path, monkeypatch, capsys, changes, options, message):
    path = write_tiny_study(tmp_path, **changes)
    runs = tmp_path / "runs"
    assert refinenet(monkeypatch, "study", "run", path, "--runs", runs, "--until-width", "2", *options) == 2
    assert message in capsys.readouterr().err
    assert not runs.exists()


@pytest.mark.slow
def test_command_adds_seeds(tmp_path):
    path = write_tiny_study(tmp_path, overrides={"trainer.max_epochs": 1})
    done = refinenet_process(tmp_path, "study", "run", path, "--until-width", "0.01", "--max-seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "pooling-original: its interval covers no seeds yet; seed 1 is added" in done.stdout
    runs = tmp_path / "runs" / "tiny"
    assert json.loads((runs / "added_seeds.json").read_text())["added"] == {NONE: [1], ORIGINAL: [1]}
    for row in (NONE, ORIGINAL):
        for seed in (0, 1):
            (results,) = (runs / f"{row}_seed-{seed}").glob("*/results.json")
            assert json.loads(results.read_text())["config"]["seed_everything"] == seed
    again = refinenet_process(tmp_path, "study", "report", path)
    assert again.returncode == 0, again.stderr
    assert "All 4 cells have finished." in (runs / "report" / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.02, 0.03, 0.05])
def test_stars_by_chance_are_rare_however_long_seeds_are_added(width):
    population, first, most, draws = Population(seed=0.25, image=0.8, both=0.3), 3, 10, 2_000
    rng = np.random.default_rng(0)
    stars, plain, stopped = 0, 0, []
    for _ in range(draws):
        a, b = population.draw(rng, most, 100, rows=2)
        units = find_units([""] * 100, a.influence[:, :, -1])
        for seeds in range(first, most + 1):
            difference = estimate((b - a).of_runs(list(range(seeds))), units)
            low, high = difference.interval()[-1]
            if high - low <= width:
                break
        stopped.append(seeds)
        stars += excludes_zero(difference.interval(look_level(first, seeds, most)))[-1]
        plain += excludes_zero(difference.interval())[-1]
    shares = f"{100 * stars / draws:.1f} %, unadjusted {100 * plain / draws:.1f} %"
    print(f"width {width}: {np.mean(stopped):.1f} seeds, stars {shares}")
    assert stars <= 0.05 * draws
    assert len(set(stopped)) > 2, "looks of different lengths occur"
