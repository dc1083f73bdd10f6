"""`refinenet export`: a trained network as a file for torch.export, ONNX Runtime or OpenVINO."""

from pathlib import Path
from typing import Literal

from refinenet_pl.cli.parser import Parser
from refinenet_pl.data.unlabeled import find_images
from refinenet_pl.deployment.network import DeployableNetwork
from refinenet_pl.deployment.quantization import write_int8
from refinenet_pl.deployment.running import SUFFIXES
from refinenet_pl.deployment.writing import Format, write
from refinenet_pl.errors import UserError
from refinenet_pl.weights.loading import load

SUMMARY = "Export a trained network to a file that other programs run."
CALIBRATION_IMAGES = 32


def run(name: str, args: list[str]) -> None:
    """Parse the options and export."""
    parser = Parser(prog=f"refinenet {name}", description=SUMMARY)
    parser.add_argument("path", type=str, help="Checkpoint, run folder, weights folder, or file of published weights.")
    parser.add_argument("--format", type=Literal["torch-export", "onnx", "openvino"], required=True, help="The format.")
    parser.add_argument("--output", type=str | None, help="The file; by default the name of PATH with another suffix.")
    parser.add_argument("--argmax", type=bool, default=False, help="Return classes, uint8, instead of logits.")
    parser.add_argument(
        "--int8_images",
        nargs="+",
        type=str,
        help="Compute in INT8, for onnx: images or folders, such as training images, to measure the ranges of the "
        f"activations on. At most {CALIBRATION_IMAGES} are used.",
    )
    options = parser.parse_args(args)
    export(options.path, options.format, options.output, options.argmax, options.int8_images)


def export(path: str, form: Format, output: str | None, argmax: bool, int8_images: list[str] | None) -> None:
    """Export a network and print what was checked; see the options of the command."""
    if int8_images is not None and form != "onnx":
        raise UserError(f"--int8_images: found --format {form}; expected --format onnx, the one that computes in INT8")
    files = [sample.image for sample in find_images(int8_images or [])]
    segmenter = load(path)
    network, names = DeployableNetwork(segmenter, argmax), segmenter.class_names
    file = Path(output) if output else Path(f"{Path(path).resolve().stem}{SUFFIXES[form]}")
    if files:
        chosen = files[:: -(-len(files) // CALIBRATION_IMAGES)]
        difference = write_int8(network, names, file, chosen)
        what = f"INT8; pixels of the {len(chosen)} images with another class: {100 * difference:.2f} %"
    else:
        difference = write(network, names, file, form)
        what = "pixels with another class" if argmax else "largest difference of logits, relative to the largest"
        what = f"{what}: {difference:.1e}"
    print(f"{file}: images uint8 [N, 3, H, W] of any size; {what}")
    if segmenter.inference != type(segmenter.inference)():
        print("the scales, flips and windows of the run are not in the file: it sees the whole image once")
