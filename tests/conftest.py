import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Property tests draw the same examples in every run, and nothing depends on the time that they take.
settings.register_profile(
    "tests", derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

# The tests use tiny tensors, for which threads cost more time than they save. The variable must be set before torch is
# imported; the processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files that take minutes, because they start many processes.
LONG_FILES = [
    "test_notebooks.py",
    "test_study_run.py",
    "test_study_scenes.py",
    "test_study_slurm.py",
    "test_cli_distributed.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that parallel processes end at about the same time.

    pytest-xdist keeps this order with `--no-loadscope-reorder`.
    """
    items.sort(key=lambda item: LONG_FILES.index(item.path.name) if item.path.name in LONG_FILES else len(LONG_FILES))


@pytest.fixture
def real_data() -> Path:
    """Folder of real datasets, named by the environment; without it, the test is skipped."""
    folder = os.environ.get("REFINENET_REAL_DATA")
    if not folder:
        pytest.skip("needs REFINENET_REAL_DATA, a folder of real datasets")
    return Path(folder)


@pytest.fixture(scope="session")
def fake_camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of fake CamVid: 5 training, 3 validation and 2 test images. Tests must not write to it."""
    from helpers.fake_data import make_camvid

    return make_camvid(tmp_path_factory.mktemp("data") / "camvid", train=5, val=3, test=2)


@pytest.fixture(scope="session")
def trained_run(fake_camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a two-epoch `refinenet fit` on `fake_camvid` with averaged weights, experiment "fake".

    It is trained once per process. Tests must not write to it; those that need to copy it.
    """
    # Imported here: the variable above must be set first, and tests that train nothing need no torch.
    from helpers.commands import fit_options, only_run, refinenet

    runs = tmp_path_factory.mktemp("runs")
    averaged = ["--trainer.callbacks=EMA", "--model.optimizer=AdamW", "--model.optimizer.lr=0.01"]
    options = [*fit_options(fake_camvid, runs), *averaged, "--experiment=fake", "--trainer.max_epochs=2"]
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "fit", *options) == 0
    return only_run(runs)
