"""The rows of a benchmark: what the CSV and the printed table have in common."""

import csv
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from refinenet_pl.benchmarks.timing import Timing
from refinenet_pl.errors import UserError
from refinenet_pl.version import __version__

Row = dict[str, Any]


def timing_columns(timing: Timing, reference: Timing, floor: float | None) -> Row:
    """Return the columns of a time: median, quartiles, how many times faster than the reference, share of the floor.

    Args:
        timing: The time.
        reference: Another time.
        floor: The least time that this machine needs, in seconds; None if it is unknown.
    """
    low, high = timing.quartiles
    return {
        "seconds": round(timing.median, 6),
        "seconds_low": round(low, 6),
        "seconds_high": round(high, 6),
        "repeats": len(timing.seconds),
        "times_faster": round(reference.median / timing.median, 3),
        "floor_seconds": None if floor is None else round(floor, 6),
        "floor_share": None if floor is None else round(floor / timing.median, 3),
    }


def machine_columns(device: str, busy: bool) -> Row:
    """Return the columns that tell where a row was measured."""
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{platform.machine()} CPU",
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "busy": busy,
        "torch": torch.__version__,
        "refinenet_pl": __version__,
    }


def show(rows: Sequence[Row], title: str) -> None:
    """Print the times of the rows as a table."""
    table = Table(title=title)
    table.add_column("", overflow="fold")
    for heading in ("median", "quartiles", "times faster", "of floor", "memory"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            ", ".join(filter(None, (row["name"], row["variant"]))),
            duration(row["seconds"]),
            f"{duration(row['seconds_low'])} to {duration(row['seconds_high'])}",
            f"{row['times_faster']:.2f}",
            "" if row["floor_share"] is None else f"{100 * row['floor_share']:.0f} %",
            "" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:.0f} MB",
        )
    Console(markup=False).print(table)


def duration(seconds: float) -> str:
    """Return seconds as text, in milliseconds below one second."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def add_rows(path: Path, rows: Sequence[Row]) -> None:
    """Append rows to a CSV file. A new file gets a header.

    Raises:
        UserError: The file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    if old and next(csv.reader(old.splitlines())) != list(rows[0]):
        raise UserError(f"{path}: its columns differ from the columns of this command; name another file with --output")
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if not old:
            writer.writeheader()
        writer.writerows(rows)


def csv_value(value: Any) -> Any:
    """Return a tuple as words, for one field."""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else value
