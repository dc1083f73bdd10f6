"""The README, the pages of docs/ and the notebooks: Python runs, commands parse, paths and links exist."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.commands import TINY_NETWORK, TINY_TRAINER, only_run, refinenet
from helpers.fake_data import make_camvid
from PIL import Image

from refinenet_pl import load
from refinenet_pl.cli.main import COMMANDS, split_command
from refinenet_pl.cli.short_help import USAGES
from refinenet_pl.data.camvid import CAMVID
from refinenet_pl.deployment.network import DeployableNetwork
from refinenet_pl.deployment.writing import write
from refinenet_pl.networks import LightWeightRefineNet
from refinenet_pl.networks.encoders import IMAGENET_MEAN, IMAGENET_STD
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.studies.loading import load_study
from refinenet_pl.weights.folder import write_weights_folder

ROOT = Path(__file__).parents[1]
PATHS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "results/README.md",
]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in PATHS}
for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):  # test_notebooks.py runs their code
    cells = json.loads(notebook.read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    PAGES[str(notebook.relative_to(ROOT))] = "\n\n".join(texts)


def blocks(language):
    """The code blocks of a language, with the page that each is from."""
    return [
        (page, block)
        for page, text in PAGES.items()
        for block in re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    ]


def commands():
    """The words after `refinenet` of every command."""
    lines = [line for _, block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    starts = [max((line.index(name) for name in ("refinenet", "refinenet_pl") if name in line), default=None)
              for line in words]  # fmt: skip
    return [line[start + 1 :] for line, start in zip(words, starts, strict=True) if start is not None]


def inline(pattern):
    """What a pattern finds in the inline code of all pages."""
    return sorted({found for text in PAGES.values() for found in re.findall(pattern, text)})


EXPERIMENTS = [command for command in commands() if command[0] == "fit" and "--config" in command]
OTHERS = [command for command in commands() if command not in EXPERIMENTS]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "weights"
    network = LightWeightRefineNet("mobilenet_v2", encoder_weights=None, classes=len(CAMVID))
    preprocessing = Preprocessing(
        list(IMAGENET_MEAN), list(IMAGENET_STD), list(CAMVID.names), [list(color) for color in CAMVID.colors]
    )
    write_weights_folder(folder, network, preprocessing, card="")
    return folder


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with the experiments, and with the class weights that one of the commands takes."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    loss = {"class_path": "CrossEntropy", "init_args": {"class_weights": [1.0] * 11}}
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump({"model": {"loss": loss}}))
    (tmp_path / "mydata.yaml").write_text(OWN_DATA[0])
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, weights):
    segmenter = load(weights)
    segmenter.network = torch.nn.Conv2d(3, len(CAMVID), 1)  # small, because exporting takes long
    path = tmp_path_factory.mktemp("exported") / "refinenet.onnx"
    write(DeployableNetwork(segmenter, argmax=True), segmenter.class_names, path, "onnx")
    return path


@pytest.mark.parametrize(("page", "block"), blocks("python"), ids=lambda text: text[:40])
def test_python_runs(page, block, weights, exported, tmp_path, monkeypatch):
    make_camvid(tmp_path / "data" / "camvid")
    (tmp_path / "refinenet.onnx").symlink_to(exported)
    for run in ("voc_refinenet/RUN", "scenes_quickstart/TIME"):
        (tmp_path / "runs" / run).parent.mkdir(parents=True)
        (tmp_path / "runs" / run).symlink_to(weights)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize("command", EXPERIMENTS, ids=" ".join)
def test_training_command_parses(command, checkout, monkeypatch, capsys):
    with pytest.raises(SystemExit) as done:
        refinenet(monkeypatch, *command, "--print_config")
    assert done.value.code in (0, None)
    assert "class_path" in capsys.readouterr().out


OWN_DATA = [block for page, block in blocks("yaml") if "FolderDataModule" in block]


@pytest.mark.parametrize("block", OWN_DATA, ids=["README", "docs"])
def test_own_data_trains(block, tmp_path, monkeypatch):
    config = yaml.safe_load(block)
    init_args = config["data"]["init_args"]
    values = [value for value, name in init_args["label_ids"].items() if name != "void"]
    for index in range(10):
        for folder, key, suffix in (("images", "images", ".jpg"), ("masks", "masks", ".png")):
            name = init_args.get(key, f"{folder}/*{suffix}").replace("*", f"drive{index % 5}_{index}")
            labels = np.array(values, np.uint8)[np.random.default_rng(index).integers(0, len(values), (48, 64))]
            (tmp_path / "mydata" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels).save(tmp_path / "mydata" / name)
    (tmp_path / "mydata.yaml").write_text(block)
    monkeypatch.chdir(tmp_path)
    small = ["--data.num_workers=0", "--data.batch_size=2", "--trainer.max_epochs=1", *TINY_TRAINER]
    assert refinenet(monkeypatch, "fit", "--config=mydata.yaml", *TINY_NETWORK, *small, "--data.crop_size=32") == 0
    assert only_run(tmp_path / "runs").parent.name == "mydata"


@pytest.mark.parametrize("command", OTHERS, ids=" ".join)
def test_options_of_command_exist(command, monkeypatch, capsys):
    name, options = split_command(command)
    assert name is not None
    if name == "list":
        assert refinenet(monkeypatch, *command) == 0
        return
    with pytest.raises(SystemExit) as done:
        refinenet(monkeypatch, *name.split(), "--help", *(["all"] if name in USAGES else []))
    assert done.value.code in (0, None)
    shown = capsys.readouterr().out
    for option in [word for word in options if word.startswith("--")]:
        expected = option if option.startswith(("--model.inference", "--inference")) else option.split(".")[0]
        assert re.search(rf"{re.escape(expected.split('=')[0])}\b", shown), option


def test_every_command_is_shown():
    assert len(EXPERIMENTS) >= 6
    assert {split_command(command)[0] for command in OTHERS} >= set(COMMANDS) - {"fit", "test"}
    assert {command[1] for command in OTHERS if command[0] == "study"} >= {"run", "pictures", "report", "sweep"}


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(inline(r"`make ([a-z-]+)`")) | set(inline(r"(?m)^make ([a-z-]+)$")) <= targets


@pytest.mark.parametrize("path", inline(r"`((?:refinenet_pl|experiments|tests|docs|notebooks)/[\w./-]*)`"))
def test_named_path_exists(path):
    if not Path(path).name.startswith("my"):  # which the reader writes
        assert (ROOT / path).exists()


def test_every_experiment_is_named():
    for kind, page in {"recipes": "README.md", "datasets": "README.md", "studies": "docs/studies.md"}.items():
        for path in (ROOT / "experiments" / kind).glob("*.yaml"):
            assert f"`{path.stem}`" in PAGES[page], path
    for path in (ROOT / "experiments" / "sweeps").glob("*.yaml"):
        assert f"`experiments/sweeps/{path.name}`" in PAGES["docs/tracking.md"], path


@pytest.mark.parametrize("option", inline(r"`(--(?:trainer|model|data)\.[\w.]+) ([\w-]+)`"))
def test_named_option_exists(option, monkeypatch, capsys):
    name, value = option
    value = {"FILE": "null", "N": "1"}.get(value, value)
    configs = [ROOT / "experiments" / file for file in ("datasets/voc.yaml", "recipes/lightweight_resnet50.yaml")]
    with pytest.raises(SystemExit) as done:
        refinenet(monkeypatch, "fit", *(f"--config={path}" for path in configs), f"{name}={value}", "--print_config")
    assert done.value.code in (0, None), capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", path.read_text(), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


def test_readme_is_short_and_every_page_is_linked():
    assert len(PAGES["README.md"].splitlines()) <= 150
    for page in PAGES:
        if page.startswith("docs/api/"):
            assert f"({page.removeprefix('docs/')})" in PAGES["docs/api.md"]
        elif page.startswith("docs/"):
            assert f"({page})" in PAGES["README.md"]


def test_study_of_the_docs_loads(tmp_path):
    for kind in ("datasets", "recipes"):
        (tmp_path / kind).symlink_to(ROOT / "experiments" / kind)
    (block,) = [block for page, block in blocks("yaml") if page == "docs/studies.md"]
    (tmp_path / "studies").mkdir()
    path = tmp_path / "studies" / "mine.yaml"
    path.write_text(block)
    assert len(load_study(path).cells) == 12
