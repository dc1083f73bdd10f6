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
    """Read the only .wandb file in `folder`.

    Returns:
        "id", "name", "project", "group", "config", "history", "summary", "exit" status, and the "models": the artifacts
        of this type, each with "name", "aliases", "metadata" and "files" by name.
    """
    (path,) = folder.rglob("*.wandb")
    run: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "exit": None, "models": []}
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"id": record.run.run_id, "name": record.run.display_name}
            run |= {"project": record.run.project, "group": record.run.run_group}
        if kind in ("run", "config"):
            update = record.run.config.update if kind == "run" else record.config.update
            run["config"] |= _values(update)
        if kind == "exit":
            run["exit"] = record.exit.exit_code
        if kind == "summary":
            run["summary"] |= _values(record.summary.update)
        if kind == "history":
            run["history"].append(_values(record.history.item))
        if kind == "artifact" and record.artifact.type == "model":
            files = {entry.path: entry.local_path for entry in record.artifact.manifest.contents}
            found = {"name": record.artifact.name, "aliases": [*record.artifact.aliases], "files": files}
            run["models"].append(found | {"metadata": json.loads(record.artifact.metadata)})
    return run


def _values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


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
