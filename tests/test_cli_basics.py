"""Help, versions, and messages for wrong options."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import fit_options, refinenet, refinenet_process
from helpers.fake_data import make_camvid

import refinenet_pl


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_need_no_torch(argument):
    code = (
        f"import sys; from refinenet_pl.cli.main import main; main(['{argument}']); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert refinenet_pl.__version__ in done.stdout


def test_module_is_the_command(tmp_path):
    assert refinenet_process(tmp_path, "--version").stdout == f"{refinenet_pl.__version__}\n"


def test_unknown_command_lists_commands(monkeypatch, capsys):
    assert refinenet(monkeypatch, "train") == 2
    assert "fit, validate, test, predict" in capsys.readouterr().err


def test_missing_dataset_is_a_message(tmp_path):
    done = refinenet_process(tmp_path, "fit", *fit_options(tmp_path / "nowhere", tmp_path / "runs"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"refinenet: error: --data.root: no folder {tmp_path}/nowhere; give" in done.stderr


def test_broken_file_in_worker_is_a_message(tmp_path):
    root = make_camvid(tmp_path / "camvid")
    broken = root / "train" / "train_2.png"
    broken.write_bytes(broken.read_bytes()[:200])
    options = [*fit_options(root, tmp_path / "runs"), "--data.num_workers=1", "--trainer.max_epochs=1"]
    done = refinenet_process(tmp_path, "fit", *options, "--trainer.num_sanity_val_steps=0")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert str(broken) in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_evaluation_needs_a_checkpoint(command, fake_camvid, tmp_path, monkeypatch, capsys):
    options = fit_options(fake_camvid, tmp_path / "runs")
    assert refinenet(monkeypatch, command, *options) == 2
    assert "--ckpt_path" in capsys.readouterr().err


def test_missing_checkpoint_is_named(fake_camvid, tmp_path, monkeypatch, capsys):
    options = fit_options(fake_camvid, tmp_path / "runs")
    assert refinenet(monkeypatch, "fit", *options, "--ckpt_path", tmp_path / "none.ckpt") == 2
    assert f"no file {tmp_path}/none.ckpt" in capsys.readouterr().err


def test_missing_device_is_a_message(fake_camvid, tmp_path, monkeypatch, capsys):
    options = fit_options(fake_camvid, tmp_path / "runs")
    assert refinenet(monkeypatch, "fit", *options, "--trainer.accelerator=mps") == 2
    assert "refinenet: error" in capsys.readouterr().err


def test_refuses_foreign_checkpoint(tmp_path, monkeypatch, capsys):
    (tmp_path / "other.ckpt").write_bytes(b"not a checkpoint")
    assert refinenet(monkeypatch, "validate", "--ckpt_path", tmp_path / "other.ckpt") == 2
    assert "cannot read" in capsys.readouterr().err


def test_refuses_wrong_number_of_classes(fake_camvid, tmp_path, monkeypatch, capsys):
    options = fit_options(fake_camvid, tmp_path / "runs")
    assert refinenet(monkeypatch, "fit", *options, "--model.network.classes=7") == 2
    assert "has 11 classes" in capsys.readouterr().err


def test_logits_loss_needs_forward_logits(fake_camvid, tmp_path, monkeypatch, capsys):
    options = fit_options(fake_camvid, tmp_path / "runs")
    unet = ["--model.network=segmentation_models_pytorch.Unet", "--model.network.encoder_weights=null"]
    assert refinenet(monkeypatch, "fit", *options, *unet, "--model.loss_resolution=logits") == 2
    assert "forward_logits" in capsys.readouterr().err


def test_refuses_sync_of_norms_with_activation(fake_camvid, tmp_path, monkeypatch, capsys):
    options = fit_options(fake_camvid, tmp_path / "runs")
    encoder = ["--model.network.encoder_name=tu-test_efficientnet.r160_in1k", "--trainer.sync_batchnorm=true"]
    assert refinenet(monkeypatch, "fit", *options, *encoder) == 2
    assert "would lose the activation" in capsys.readouterr().err


def test_finds_the_experiments_folder():
    assert list(Path(__file__).parents[1].glob("experiments/*/*.yaml"))
