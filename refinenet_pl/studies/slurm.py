"""Runs the cell_groups of a study as jobs of a SLURM cluster, through submitit."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from refinenet_pl.errors import UserError
from refinenet_pl.files import write_json
from refinenet_pl.studies.commands import CellGroup
from refinenet_pl.studies.pool import Progress, failure_message, try_lock
from refinenet_pl.studies.slurm_job import CellGroupJob

POLL_SECONDS = 2.0
JOBS: dict[str, tuple[type[submitit.Job[None]], str]] = {
    "slurm": (submitit.SlurmJob, "scancel"),
    "local": (submitit.LocalJob, "kill -INT"),
}
"""Of each kind of cluster, what submitit knows its jobs as, and the command that ends them."""


class SlurmQueue:
    """Jobs, one a training.

    Jobs outlive the command that submitted them. Each training's first cell has its job's number in `job.json`, so that
    a second `study run` follows the job that is queued or running, and submits none.

    Args:
        parameters: By submitit's names, as `AutoExecutor.update_parameters` takes them: timeout_min, which must be
            there, slurm_partition, slurm_qos, cpus_per_task, ... With `cluster` "local" beside them, the jobs are
            processes of this machine, all at once.

    Raises:
        UserError: A parameter is missing or wrong, or this machine belongs to no cluster.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.parameters = dict(parameters)
        self.cluster = self.parameters.pop("cluster", "slurm")
        if self.cluster not in JOBS:
            raise UserError(f"--slurm: cluster {self.cluster!r} is none of {', '.join(JOBS)}")
        if "timeout_min" not in self.parameters:
            raise UserError("--slurm: say how many minutes a job may take, such as timeout_min=1440")
        if self.cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise UserError(
                "--launcher slurm: no sbatch and srun here; run this on a login node of the cluster, or leave it out"
            )
        self.jobs: list[tuple[CellGroup, submitit.Job[None]]] = []
        self.progress = Progress()

    def run(self, cell_groups: Sequence[CellGroup], on_change: Callable[[Progress], None]) -> Progress:
        """Submit what has no job yet, and wait until every cell is finished or has failed.

        Args:
            cell_groups: What to run, in this order.
            on_change: Called with the state of things again and again.

        Raises:
            UserError: Submitit does not take the parameters.
            KeyboardInterrupt: As it came, after telling how to end the jobs, which go on.
        """
        unfinished = [training for training in cell_groups if training.next_cell() is not None]
        executors = [self._executor(training) for training in unfinished]
        try:
            for training, executor in zip(unfinished, executors, strict=True):
                self._follow_or_submit(training, executor)
                on_change(self.progress)
            while self.jobs:
                self._watch()
                on_change(self.progress)
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            if self.jobs:
                ids = " ".join(job.job_id for _, job in self.jobs)
                end = JOBS[self.cluster][1]
                print(f"the jobs go on, and the same command follows them again; to end them: {end} {ids}")
            raise
        on_change(self.progress)
        return self.progress

    def _executor(self, training: CellGroup) -> submitit.AutoExecutor:
        ours = {
            "name": f"{training.study.name}-{training.cells[0].name}",
            "nodes": training.nodes,
            "gpus_per_node": training.devices,
            # Under SLURM, Lightning wants one task a GPU; elsewhere it starts the other processes itself.
            "tasks_per_node": training.devices if self.cluster == "slurm" else 1,
            # If one task fails, the others would wait for it until the network's time is up.
            "slurm_srun_args": ["--kill-on-bad-exit"],
        }
        try:
            executor = submitit.AutoExecutor(training.folder(training.cells[0]).path / "job", cluster=self.cluster)
            executor.update_parameters(**(ours | self.parameters))
        except (AssertionError, NameError, TypeError, ValueError) as error:  # of wrong values, names, numbers of nodes
            raise UserError(f"--slurm takes submitit's parameters, such as slurm_partition=gpu: {error}") from error
        return executor

    def _follow_or_submit(self, training: CellGroup, executor: submitit.AutoExecutor) -> None:
        cell = training.next_cell()
        if cell is None:
            return
        file = training.folder(training.cells[0]).path / "job.json"
        job = _known_job(file)
        if job is None or job.task(0).done():
            lock = training.folder(cell).path / "lock"
            lock.parent.mkdir(parents=True, exist_ok=True)
            with lock.open("a") as opened:
                if not try_lock(opened):
                    self.progress.failed[cell.name] = "another process is at it"
                    return
            try:
                job = executor.submit(CellGroupJob(training))
            except RuntimeError as error:  # sbatch's, told by submitit
                self.progress.failed[cell.name] = f"not submitted: {error}"
                return
            write_json(file, {"cluster": self.cluster, "id": job.job_id, "tasks": job.num_tasks})
        self.jobs.append((training, job))

    def _watch(self) -> None:
        """Take note of the jobs that began or ended. The first task stands for all, since it writes the results."""
        running = {}
        for training, job in list(self.jobs):
            first = job.task(0)
            ended = first.done()
            cell = training.next_cell()
            if ended:
                self.jobs.remove((training, job))
                if cell is not None and first.exception() is not None:
                    self.progress.failed[cell.name] = _reason(first, training.folder(cell).log)
            elif cell is not None and first.paths.stdout.exists():
                running[cell.name] = self.progress.running.get(cell.name, time.time())
        self.progress.running = running


def _known_job(file: Path) -> submitit.Job[None] | None:
    """The job that a training was given earlier."""
    if not file.is_file():
        return None
    known = json.loads(file.read_text())
    return JOBS[known["cluster"]][0](file.parent / "job", known["id"], range(known["tasks"]))


def _reason(task: submitit.Job[None], log: Path) -> str:
    """Why a job failed; what it said itself, if it did not come to run the cell."""
    return failure_message(
        f"job {task.job_id} ended ({task.state.lower()})", log if log.is_file() else task.paths.stderr
    )


def slurm_parameters(words: Sequence[str]) -> dict[str, Any]:
    """Submitit's parameters from words like "timeout_min=1440" or "slurm_partition=gpu".

    Values are read as JSON where they are JSON, and as text otherwise. Not as yaml, in which 24:00:00 is a number.
    """
    parameters: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--slurm: {word!r} is not like NAME=VALUE")
        try:
            parameters[name] = json.loads(value)
        except json.JSONDecodeError:
            parameters[name] = value
    return parameters
