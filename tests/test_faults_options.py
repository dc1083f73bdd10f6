"""Bad input of the command line and of configurations: one message that names it, and nothing is written."""

import pytest
from helpers.commands import fit_options
from helpers.faults import BadInput, check

YAML = "data: {class_path: CamVidDataModule, init_args: {root: %s}}\n"
SLURM = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "localhost"}

ROWS = [
    BadInput(
        "unknown option",
        "fit {fit} --data.rooot=x",
        ("CamVidDataModule has no option 'rooot'", "did you mean --data.root?"),
    ),
    BadInput("unknown section", "fit {fit} --trainr.max_epochs=3", ("no option 'trainr'", "did you mean --trainer?")),
    BadInput("abbreviated option", "fit {fit} --trainer.max_epoch=3", ("'max_epoch'", "mean --trainer.max_epochs?")),
    BadInput(
        "unknown argument of a class",
        "fit {fit} --model.network.encoder_nam=x",
        ("did you mean --model.network.encoder_name?",),
    ),
    BadInput("list without brackets", "fit {fit} --data.crop_size 64 64", ("--data.crop_size=[64,64]",)),
    BadInput(
        "word for a number", "fit {fit} --trainer.max_epochs=abc", ("trainer.max_epochs: expected int; found abc",)
    ),
    BadInput("word in a list", "fit {fit} --data.crop_size=[64,a]", ("data.crop_size", "expected int", "[64, 'a']")),
    BadInput("word for a rate", "fit {fit} --model.optimizer.lr=x", ("model.optimizer.lr: expected float", "found x")),
    BadInput("unknown dataset", "fit --data=CamVidd", ("data: no class 'CamVidd'", "package.module.Class")),
    BadInput("unknown callback", "fit {fit} --trainer.callbacks=Stop", ("trainer.callbacks", "no class 'Stop'")),
    BadInput("missing config", "fit --config nope.yaml", ("config", "nope.yaml")),
    BadInput("empty yaml", "fit --config empty.yaml", ("empty.yaml", "expected a mapping"), files={"empty.yaml": ""}),
    BadInput("list as yaml", "fit --config=l.yaml", ("l.yaml holds list",), files={"l.yaml": "- 1\n"}),
    BadInput("tab in yaml", "fit -c tab.yaml", ("tab.yaml", "line 2"), files={"tab.yaml": "data:\n\troot: x\n"}),
    BadInput("yaml that is no text", "fit -c x.yaml", ("x.yaml", "as YAML"), files={"x.yaml": b"\xff\xfe\x00\x81"}),
    BadInput(
        "unknown key in yaml",
        "fit -c k.yaml",
        ("fit has no option 'dataa'", "mean data?"),
        files={"k.yaml": "dataa: 3\n"},
    ),
    BadInput("evaluation without a checkpoint", "validate", ("--ckpt_path",)),
    BadInput("abbreviated checkpoint", "validate --ckpt {run}", ("--ckpt_path",)),
    BadInput("prediction without a checkpoint", "predict --images x", ("--ckpt_path",)),
    BadInput("argument left out", "compare {run}", ("found 1 run", "refinenet compare RUN_A RUN_B")),
    BadInput("unknown option of a study", "study run --devces=3 s.yaml", ("--devces=3", "did you mean --devices?")),
    BadInput("missing study", "study report nope.yaml", ("nope.yaml",)),
    BadInput("no data for class weights", "class-weights", ("data",)),
    BadInput(
        "unset variable",
        "fit --config v.yaml {network}",
        ("data.root", "$NOWHERE", "not set"),
        files={"v.yaml": YAML % "$NOWHERE/c"},
    ),
    BadInput("unset variable in runs", "fit {fit} --runs=${NOWHERE}/runs", ("runs", "${NOWHERE}", "not set")),
    BadInput("barebones", "fit {fit} --trainer.barebones=true", ("trainer.barebones", "part")),
    BadInput(
        "no accumulation",
        "fit {fit} --trainer.accumulate_grad_batches=0",
        ("accumulate_grad_batches is 0", "1 or more"),
    ),
    BadInput("spawned processes", "fit {fit} --trainer.strategy=ddp_spawn", ("ddp_spawn", "expected ddp")),
    BadInput("numbers of devices on a CPU", "fit {fit} --trainer.devices=[0,1]", ("Trainer", "devices")),
    BadInput("negative workers", "fit {fit} --data.num_workers=-1", ("num_workers",), trains=True),
    BadInput("no batch", "fit {fit} --data.batch_size=0", ("data.batch_size is 0; expected 1 or more",)),
    BadInput("negative rate", "fit {fit} --model.optimizer.lr=-1", ("SGD: Invalid learning rate: -1",), trains=True),
    BadInput(
        "rare validation", "fit {fit} --trainer.val_check_interval=100", ("val_check_interval", "(100)"), trains=True
    ),
    BadInput("runs that cannot be written", "fit {fit} --runs=/proc/nope", ("/proc/nope", "read and write")),
    BadInput(
        "output is a file",
        "compare {run} {run} --output=/proc/nope/x.json",
        ("/proc/nope: cannot write", "another --output"),
    ),
    BadInput(
        "slashes in a W&B project",
        "fit {fit} --trainer.logger=WandbLogger --trainer.logger.project=me/p",
        ("trainer.logger.project", "'me/p'", "trainer.logger.entity"),
    ),
    BadInput("missing network package", "fit {fit} --model.network=nopackage.Net", ("model.network", "nopackage")),
    BadInput("SLURM left over", "fit {fit}", ("ntasks", "unset ${!SLURM_@}"), environment=SLURM),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_bad_input(row, fake_camvid, trained_run, tmp_path, monkeypatch, capsys):
    fit = [*fit_options(fake_camvid, tmp_path / "runs"), "--trainer.max_epochs=1", "--trainer.num_sanity_val_steps=0"]
    network = [option for option in fit if option.startswith("--model")]
    check(row, {"{fit}": fit, "{network}": network, "{run}": [str(trained_run)]}, tmp_path, monkeypatch, capsys)
