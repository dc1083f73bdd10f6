"""`refinenet export`: a trained network as a file for torch.export, ONNX Runtime or OpenVINO."""

from pathlib import Path
from typing import Literal

from refinenet_pl.cli.parser import Parser
from refinenet_pl.deployment.network import DeployableNetwork
from refinenet_pl.deployment.running import SUFFIXES
from refinenet_pl.deployment.writing import Format, write
from refinenet_pl.weights.loading import load

SUMMARY = "Export a trained network to a file that other programs run."


def run(name: str, args: list[str]) -> None:
    """Parse the options and export."""
    parser = Parser(prog=f"refinenet {name}", description=SUMMARY)
    parser.add_argument("path", type=str, help="Checkpoint, run folder, weights folder, or file of published weights.")
    parser.add_argument("--format", type=Literal["torch-export", "onnx", "openvino"], required=True, help="The format.")
    parser.add_argument("--output", type=str | None, help="The file; by default the name of PATH with another suffix.")
    parser.add_argument("--argmax", type=bool, default=False, help="Return classes, uint8, instead of logits.")
    options = parser.parse_args(args)
    export(options.path, options.format, options.output, options.argmax)


def export(path: str, form: Format, output: str | None, argmax: bool) -> None:
    """Export a network and print what was checked; see the options of the command."""
    segmenter = load(path)
    file = Path(output) if output else Path(f"{Path(path).resolve().stem}{SUFFIXES[form]}")
    difference = write(DeployableNetwork(segmenter, argmax), segmenter.class_names, file, form)
    what = "pixels with another class" if argmax else "largest difference of logits, relative to the largest"
    print(f"{file}: images uint8 [N, 3, H, W] of any size; {what}: {difference:.1e}")
    if segmenter.inference != type(segmenter.inference)():
        print("the scales, flips and windows of the run are not in the file: it sees the whole image once")
