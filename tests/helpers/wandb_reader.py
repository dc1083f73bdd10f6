"""Reads the file of an offline W&B run: a log of records in LevelDB's format."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

BLOCK, FILE_HEADER, HEADER = 32768, 7, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_offline_run(folder: Path) -> dict[str, Any]:
    """Read id, project, group, configuration, history and exit status from the only .wandb file in `folder`."""
    (path,) = folder.rglob("*.wandb")
    run: dict[str, Any] = {"id": None, "project": None, "group": None, "config": {}, "history": [], "exit": None}
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run["id"], run["project"], run["group"] = record.run.run_id, record.run.project, record.run.run_group
        if kind in ("run", "config"):
            update = record.run.config.update if kind == "run" else record.config.update
            run["config"] |= {item.key: json.loads(item.value_json) for item in update}
        if kind == "exit":
            run["exit"] = record.exit.exit_code
        if kind == "history":
            keys = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            run["history"].append(keys)
    return run


def _records(log: bytes) -> Iterator[bytes]:
    position, parts = FILE_HEADER, b""
    while position + HEADER <= len(log):
        left = BLOCK - position % BLOCK
        if left < HEADER:  # the end of a block that is too short for a header is padding
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", log, position)
        parts += log[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
