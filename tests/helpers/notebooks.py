"""Executes notebooks. `make notebooks` executes all of them and stores their outputs."""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COMMAND = '#!/bin/sh\nexec "{python}" -m refinenet_pl "$@"\n'


def execute(path: Path, workspace: Path, changes: Mapping[str, str] | None = None, **variables: str) -> NotebookNode:
    """Execute a notebook in a folder of its own, from which it finds the experiments as it does in a checkout.

    Args:
        path: The notebook; it is not written to.
        workspace: An empty folder. The notebook runs in its folder `notebooks`.
        changes: Text of code cells and what to put in its place, such as fewer steps.
        **variables: Further variables of the environment.

    Returns:
        The notebook with its outputs.
    """
    notebook = nbformat.read(path, as_version=4)
    metadata = notebook.metadata.copy()
    for old, new in (changes or {}).items():
        assert any(old in cell.source for cell in notebook.cells if cell.cell_type == "code"), f"{path.name}: no {old}"
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.source = cell.source.replace(old, new)
    folder = workspace / "notebooks"
    folder.mkdir()
    (workspace / "experiments").symlink_to(ROOT / "experiments")
    search = f"{command_folder(workspace)}{os.pathsep}{os.environ['PATH']}"
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=os.environ | {"PATH": search} | variables)
    notebook.metadata = metadata  # without the version of Python
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_left_of_bar(output)]
    return notebook


def is_left_of_bar(output: NotebookNode) -> bool:
    """Return whether an output is what a progress bar leaves when it has disappeared."""
    return output.output_type == "display_data" and "image/png" not in output.data


def command_folder(workspace: Path) -> Path:
    """Write the command `refinenet` of this Python, which need not be installed, and return its folder."""
    folder = workspace / "bin"
    folder.mkdir()
    command = folder / "refinenet"
    command.write_text(COMMAND.format(python=sys.executable))
    command.chmod(0o755)
    return folder


if __name__ == "__main__":
    chosen = [path for path in NOTEBOOKS if not sys.argv[1:] or path.name in sys.argv[1:]]
    for path in chosen:
        print(f"executing {path.name}", flush=True)
        with tempfile.TemporaryDirectory() as workspace:
            nbformat.write(execute(path, Path(workspace)), path)
