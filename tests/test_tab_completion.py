"""Tab completion, as bash asks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def completions(line: str, folder: Path) -> list[str]:
    """Return what a shell would offer at the end of a line; argcomplete writes it to file descriptor 8."""
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    code = "from refinenet_pl.cli.main import main; main()"
    command = f'"$0" -c "{code}" 8>&1 9>&2 >/dev/null'
    environment = os.environ | asked | {"_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    done = subprocess.run(
        ["bash", "-c", command, sys.executable], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    return [word.strip() for word in done.stdout.split("\n") if word]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("refinenet va", ["validate"]),
        ("refinenet study re", ["report"]),
        ("refinenet fit --model.netw", ["--model.network"]),
        ("refinenet fit --model.network Lig", ["LightWeightRefineNet"]),
        ("refinenet fit --data Cam", ["CamVidDataModule"]),
        ("refinenet fit --config m", ["mine.yaml"]),
        ("refinenet runs --so", ["--sort"]),
    ],
)
def test_completion_offers(line, offered, tmp_path):
    (tmp_path / "mine.yaml").touch()
    found = completions(line, tmp_path)
    assert {*offered} <= {*found}
    assert all(word.startswith(line.split()[-1]) for word in found)
