"""Keys and paths that are checked before torch is loaded."""

import re

import pytest
from helpers.commands import refinenet
from helpers.own_network import Shallow
from test_short_help import CONFIGS, EXPERIMENTS, output

from refinenet_pl.cli.early_checks import DEFAULTS, SECTIONS, TOP_OF, Keys, check_settings
from refinenet_pl.errors import UserError
from refinenet_pl.files import read_yaml

QUICKSTART = [word for path in CONFIGS for word in ("--config", str(path))]
LOSSES = '{"class_path": "WeightedSum", "init_args": {"losses": [{"class_path": "Focal", "init_args": {"g": 2}}]}}'


@pytest.mark.parametrize("command", TOP_OF)
def test_every_option_of_the_parser_is_known(command, monkeypatch, capsys):
    with pytest.raises(SystemExit):  # argparse ends the process after the help
        refinenet(monkeypatch, command, "--help", "all")
    options = {*re.findall(r"^  (?:-\w, )?--([\w.]+)", capsys.readouterr().out, re.MULTILINE)}
    assert len(options) > 60
    for option in options:
        list(Keys(command, SECTIONS | DEFAULTS).walk_option(option, None))  # raises nothing


@pytest.mark.parametrize("kind", ["datasets", "recipes"])
def test_experiments_have_known_keys(kind):
    files = [*(EXPERIMENTS / kind).glob("*.yaml")]
    assert files
    for file in files:
        assert list(Keys("fit", SECTIONS | DEFAULTS).walk(read_yaml(file, "file"), file.name))


def test_configuration_of_a_run_is_known(trained_run):
    settings = [
        setting.key
        for setting in Keys("fit", SECTIONS).walk(read_yaml(trained_run / "config.yaml", "file"), "config.yaml")
    ]
    assert {"data.root", "model.network.encoder_name", "checkpoint.monitor", "model.inference.scales"} <= {*settings}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--data.crop_sise=3"], "--data.crop_sise: ScenesDataModule has no option 'crop_sise'"),
        (["--data.init_args.crop_sise=3"], "no option 'crop_sise'; did you mean --data.crop_size? See refinenet fit --help"),
        (["--model.los", "Dice"], "--model.los: model has no option 'los'; did you mean --model.loss?"),
        (["--model.network.poling=null"], "no option 'poling'; did you mean --model.network.pooling?"),
        (["--trainer.max_epoch=1"], "trainer has no option 'max_epoch'; did you mean --trainer.max_epochs?"),
        (["--checkpoint.save_topk=1"], "checkpoint has no option 'save_topk'; did you mean --checkpoint.save_top_k?"),
        (["--model.inference.scale=[1]"], "no option 'scale'; did you mean --model.inference.scales?"),
        (["--model.optimizer.momentm=1"], "AdamW has no option 'momentm'"),
        (["--model.schedule.warmup=1"], "Poly has no option 'warmup'; did you mean --model.schedule.warmup_steps?"),
        (["--model.loss", LOSSES], "--model.loss.init_args.losses[0].init_args.g: Focal has no option 'g'"),
        (["--modle.compile=true"], "--modle.compile: fit has no option 'modle'; did you mean --model?"),
        (["--data=CamVid"], "did you mean CamVidDataModule?"),
        (["--model.network=RefinNet"], "--model.network: no class 'RefinNet'; expected one of FullyConvNet,"),
        (["--ckpt_path=runs/no.ckpt"], "--ckpt_path: no file runs/no.ckpt; expected a file or a folder that exists"),
        (["--model.weights=runs/none"], "--model.weights: no file runs/none"),
        (["--model.network.encoder_weights=no.pth"], "--model.network.encoder_weights: no file no.pth"),
        (["--config=no.yaml"], "--config: no file no.yaml; expected a yaml file"),
        (["--config", str(CONFIGS[0])[:-6] + ".yaml"], f"did you mean {CONFIGS[0]}?"),
        (
            ["--config", str(EXPERIMENTS / "datasets" / "camvid.yaml")],
            "camvid.yaml: data.init_args.root: no folder data/camvid; give the dataset's folder with --data.root; "
            "to get the data: refinenet data prepare camvid",
        ),
    ],
)  # fmt: skip
def test_mistake_is_told(options, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        check_settings("fit", [*QUICKSTART, *options])
    assert told in str(error.value)


def test_mistake_in_a_file_names_the_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {loss: {class_path: Dice, init_args: {smoth: 1}}}\n")
    told = "mine.yaml: model.loss.init_args.smoth: Dice has no option 'smoth'"
    with pytest.raises(UserError, match=re.escape(told)):
        check_settings("fit", ["--config", str(tmp_path / "mine.yaml")])


def test_missing_images_are_told(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match=r"--images: .*b\.png: no such file or folder"):
        check_settings("predict", ["--ckpt_path=.", "--images", str(tmp_path / "a.png"), str(tmp_path / "b.png")])


@pytest.mark.parametrize(
    "options",
    [
        [f"--model.network={Shallow.__module__}.Shallow", "--model.network.anything=3"],
        ["--model.network=segmentation_models_pytorch.Unet", "--model.network.encoder_depth=3"],
        ["--ckpt_path=.", "--model.network.encoder_weights=folder/gone.pth"],
        ["--ckpt_path=.", "--model.loss.gamma=2", "--model.optimizer.betas=[0.9,0.99]"],  # the run's classes
        ["--model.loss=torch.nn.CrossEntropyLoss", "--model.loss.ignore_index=255"],
        ["--trainer.callbacks+=EMA", "--trainer.callbacks.decay=0.9", "--trainer.devices", "-1"],
        ["--config", "data: {class_path: mine.Data}"],
        ["--data=CamVidDataModule", "--data.root=data/none", "--print_config"],
    ],
)
def test_what_sources_cannot_tell_passes(options):
    check_settings("fit", options)


def test_torch_is_not_loaded_for_a_mistake():
    done = output("fit", *QUICKSTART, "--data.crop_sise=3")
    assert done.returncode == 2
    assert done.stderr.startswith("refinenet: error: --data.crop_sise: ")
    assert done.stderr.count("\n") == 1
