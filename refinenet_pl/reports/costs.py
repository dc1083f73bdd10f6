"""What a row of a study costs, in training and in inference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from refinenet_pl.files import read_json


@dataclass(frozen=True)
class Costs:
    """What a row costs; None where nothing measured it.

    Attributes:
        parameters: Their number.
        gflops: Of inference on one image, in 1e9 operations.
        latency: Of inference on one image, in seconds.
        inference_memory: Its peak, in MB.
        training_time: In seconds, the mean over seeds.
        training_memory: Its peak, in MB, the mean over seeds.
        device: What latency and memory of inference were measured on.
    """

    parameters: float | None
    gflops: float | None
    latency: float | None
    inference_memory: float | None
    training_time: float | None
    training_memory: float | None
    device: str | None


def costs_of(inference: Mapping[str, str], trainings: Sequence[Path]) -> Costs:
    """The costs of a row.

    Args:
        inference: Its line in `inference.csv`; empty if there is none.
        trainings: The run folders of its trainings, whose `costs.json` may be missing.
    """
    files = [read_json(path, "train that cell again") for run in trainings if (path := run / "costs.json").is_file()]

    def measured(name: str) -> float | None:
        return float(inference[name]) if inference.get(name) else None

    def mean(name: str) -> float | None:
        values = [costs[name] for costs in files if costs.get(name) is not None]
        return fmean(values) if values else None

    return Costs(
        parameters=mean("parameters") if measured("parameters") is None else measured("parameters"),
        gflops=measured("gflops"),
        latency=measured("seconds"),
        inference_memory=measured("peak_memory_mb"),
        training_time=mean("seconds"),
        training_memory=mean("peak_memory_mb"),
        device=inference.get("device"),
    )
