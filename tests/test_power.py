"""`study power` against statsmodels."""

import re

import pytest
from helpers.commands import refinenet
from helpers.fake_study import finish, write_study
from statsmodels.stats.power import TTestIndPower

from refinenet_pl.evaluation.power import MOST_SEEDS, deviation_interval, pooled_deviation, power_of, seeds_needed


@pytest.mark.parametrize("seeds", [2, 3, 10, 40])
@pytest.mark.parametrize("effect", [0.3, 1.2, 4.0])
def test_power_equals_statsmodels(seeds, effect):
    expected = TTestIndPower().power(effect / 1.7, seeds, 0.05)
    assert power_of(seeds, effect, 1.7) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("effect", "power"), [(1.2, 0.8), (2.1, 0.8), (2.1, 0.95), (0.5, 0.8), (30.0, 0.8)])
def test_seeds_are_the_fewest(effect, power):
    found = seeds_needed(effect, 1.7, power)
    assert found is not None
    assert power_of(found, effect, 1.7) >= power
    assert found == 2 or power_of(found - 1, effect, 1.7) < power


def test_figures_of_the_paper():
    assert TTestIndPower().solve_power(1.2 / 1.7, power=0.8, alpha=0.05) == pytest.approx(32.5, abs=0.1)
    assert [seeds_needed(effect, 1.7) for effect in (1.2, 2.1)] == [33, 12]


def test_tiny_effects_need_too_many():
    assert seeds_needed(0.001, 1.7) is None


def test_deviation_is_pooled_over_rows():
    assert pooled_deviation([[1, 3], [10, 14], [7]]) == (pytest.approx(((2 + 8) / 2) ** 0.5), 2)
    low, high = deviation_interval(1.7, 6)
    assert (low, high) == (pytest.approx(1.7 * 0.6444, rel=1e-3), pytest.approx(1.7 * 2.2021, rel=1e-3))


def test_command_prints_seeds(tmp_path, monkeypatch, capsys):
    study = finish(write_study(tmp_path, seeds=[0, 1, 2]), tmp_path / "runs")
    arguments = ("study", "power", study.path, "--runs", tmp_path / "runs")
    assert refinenet(monkeypatch, *arguments, "--effect", "1", "0.001") == 0
    text = capsys.readouterr().out
    deviation = float(re.search(r"deviates by ([\d.]+) points", text)[1])  # type: ignore[index]
    seeds = int(re.search(r"│ 1 +│ +(\d+) │", text)[1])  # type: ignore[index]
    assert seeds == pytest.approx(TTestIndPower().solve_power(1 / deviation, power=0.8, alpha=0.05), rel=0.05, abs=1)
    assert f"over {MOST_SEEDS:,}" in text


def test_single_seeds_are_told(tmp_path, monkeypatch, capsys):
    study = finish(write_study(tmp_path, seeds=[0]), tmp_path / "runs")
    assert refinenet(monkeypatch, "study", "power", study.path, "--runs", tmp_path / "runs", "--effect", "1") == 2
    assert "its rows have 1, 1, 1 finished seeds. Run two or more seeds of a row" in capsys.readouterr().err
