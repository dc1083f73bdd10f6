"""Costs of a row in training and in inference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder


@dataclass(frozen=True)
class Costs:
    """Costs of a row; None where they were not measured.

    Attributes:
        parameters: Number of parameters.
        gflops: Operations of inference per image, in 1e9.
        latency: Time of inference per image, in seconds; median.
        latency_quartiles: First and third quartile; None in files of earlier versions.
        inference_memory: Peak memory of inference, in MB.
        training_time: In seconds, mean over seeds.
        training_memory: Peak memory of training, in MB, mean over seeds.
        device: Device on which inference was measured.
    """

    parameters: float | None
    gflops: float | None
    latency: float | None
    latency_quartiles: tuple[float, float] | None
    inference_memory: float | None
    training_time: float | None
    training_memory: float | None
    device: str | None


def row_costs(inference: Mapping[str, str], trainings: Sequence[RunFolder]) -> Costs:
    """Collect the costs of a row.

    Args:
        inference: The row's line in `inference.csv`; empty if inference was not measured.
        trainings: Run folders of the row's trainings. Runs without `costs.json` are skipped.

    Raises:
        UserError: A value is not a number.
    """
    training_costs = {run.costs: costs for run in trainings if (costs := run.read_costs()) is not None}

    def measured(name: str) -> float | None:
        try:
            return float(inference[name]) if inference.get(name) else None
        except ValueError as error:
            raise UserError(
                f"inference.csv: {name} of {inference['row']} is {inference[name]!r}; expected a number. Delete the "
                "file: `refinenet study run` measures again"
            ) from error

    def mean(name: str) -> float | None:
        values = {file: costs[name] for file, costs in training_costs.items() if costs.get(name) is not None}
        for file, value in values.items():
            if not isinstance(value, int | float):
                raise UserError(f"{file}: {name} is {value!r}; expected a number. Restore the file, or delete it")
        return fmean(values.values()) if values else None

    low, high = measured("seconds_low"), measured("seconds_high")
    return Costs(
        parameters=mean("parameters") if measured("parameters") is None else measured("parameters"),
        gflops=measured("gflops"),
        latency=measured("seconds"),
        latency_quartiles=None if low is None or high is None else (low, high),
        inference_memory=measured("peak_memory_mb"),
        training_time=mean("seconds"),
        training_memory=mean("peak_memory_mb"),
        device=inference.get("device"),
    )
