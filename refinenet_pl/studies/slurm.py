"""Runs the cell groups of a study as jobs of a SLURM cluster, through submitit."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from refinenet_pl.errors import UserError
from refinenet_pl.files import read_json, write_json
from refinenet_pl.locks import LOCKED, try_lock
from refinenet_pl.studies.commands import CellGroup
from refinenet_pl.studies.pool import Progress, failure_message
from refinenet_pl.studies.slurm_job import CellGroupJob
from refinenet_pl.text import join

POLL_SECONDS = 2.0
JOBS: dict[str, tuple[type[submitit.Job[None]], str]] = {
    "slurm": (submitit.SlurmJob, "scancel"),
    "local": (submitit.LocalJob, "kill -INT"),
}
"""For each kind of cluster: submitit's class of its jobs, and the command that ends a job."""


class SlurmQueue:
    """One job per cell group.

    Jobs outlive the command that submits them. The id of a job is kept in `job.json` in the folder of the group's first
    cell. A second `study run` attaches to a queued or running job and submits no other.

    Args:
        parameters: Parameters of submitit's `AutoExecutor.update_parameters`: timeout_min (required), slurm_partition,
            slurm_qos, cpus_per_task, ... With `cluster` "local", the jobs are processes of this machine, all at once.

    Raises:
        UserError: A parameter is missing or wrong, or this machine belongs to no cluster.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.parameters = dict(parameters)
        self.cluster = self.parameters.pop("cluster", "slurm")
        if self.cluster not in JOBS:
            raise UserError(f"--slurm: cluster is {self.cluster!r}; expected one of {join(JOBS)}")
        if "timeout_min" not in self.parameters:
            raise UserError(
                "--slurm: timeout_min is missing; give the time limit of a job in minutes, such as timeout_min=1440"
            )
        if self.cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise UserError(
                "--launcher slurm: found no sbatch and srun; run the command on a login node, or drop --launcher"
            )
        self.jobs: list[tuple[CellGroup, submitit.Job[None]]] = []
        self.progress = Progress()

    def run(self, groups: Sequence[CellGroup], on_change: Callable[[Progress], None]) -> Progress:
        """Submit the groups that have no job, and wait until every cell has finished or failed.

        Args:
            groups: The cells to run, in this order.
            on_change: Called with the progress every two seconds.

        Raises:
            UserError: submitit refuses the parameters.
            KeyboardInterrupt: Raised again after a message. The jobs keep running.
        """
        unfinished = [group for group in groups if group.next_cell() is not None]
        executors = [self._executor(group) for group in unfinished]
        try:
            for group, executor in zip(unfinished, executors, strict=True):
                self._follow_or_submit(group, executor)
                on_change(self.progress)
            while self.jobs:
                self._watch()
                on_change(self.progress)
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            if self.jobs:
                ids = " ".join(job.job_id for _, job in self.jobs)
                end = JOBS[self.cluster][1]
                print(f"the jobs keep running; run the command again to re-attach, or end them with: {end} {ids}")
            raise
        on_change(self.progress)
        return self.progress

    def _executor(self, group: CellGroup) -> submitit.AutoExecutor:
        defaults = {
            "name": f"{group.study.name}-{group.cells[0].name}",
            "nodes": group.nodes,
            "gpus_per_node": group.devices,
            # Under SLURM, Lightning expects one task per GPU. Elsewhere it starts the other processes itself.
            "tasks_per_node": group.devices if self.cluster == "slurm" else 1,
            # Without it, the other tasks wait for a failed one until the network timeout.
            "slurm_srun_args": ["--kill-on-bad-exit"],
        }
        try:
            executor = submitit.AutoExecutor(group.folder(group.cells[0]).job_files, cluster=self.cluster)
            executor.update_parameters(**(defaults | self.parameters))
        except (AssertionError, NameError, TypeError, ValueError) as error:  # wrong values, names, or numbers of nodes
            raise UserError(
                f"--slurm: submitit refuses the parameters: {str(error).rstrip('.')}; give its names, such as "
                "slurm_partition=gpu"
            ) from error
        return executor

    def _follow_or_submit(self, group: CellGroup, executor: submitit.AutoExecutor) -> None:
        cell = group.next_cell()
        if cell is None:
            return
        file = group.folder(group.cells[0]).job
        job = _earlier_job(file)
        if job is None or job.task(0).done():
            lock = group.folder(cell).lock
            lock.parent.mkdir(parents=True, exist_ok=True)
            with lock.open("a") as lock_file:
                if not try_lock(lock_file):
                    self.progress.failed[cell.name] = LOCKED
                    return
            try:
                job = executor.submit(CellGroupJob(group))
            except RuntimeError as error:  # sbatch failed
                self.progress.failed[cell.name] = f"sbatch refused the job: {error}"
                return
            write_json(file, {"cluster": self.cluster, "id": job.job_id, "tasks": job.num_tasks})
        self.jobs.append((group, job))

    def _watch(self) -> None:
        """Record the jobs that started or ended. The first task decides, because it writes the results."""
        running = {}
        for group, job in list(self.jobs):
            first = job.task(0)
            ended = first.done()
            cell = group.next_cell()
            if ended:
                self.jobs.remove((group, job))
                if cell is not None and first.exception() is not None:
                    self.progress.failed[cell.name] = _job_failure(first, group.folder(cell).log)
            elif cell is not None and first.paths.stdout.exists():
                running[cell.name] = self.progress.running.get(cell.name, time.time())
        self.progress.running = running


def _earlier_job(file: Path) -> submitit.Job[None] | None:
    """Return the job that was submitted earlier for a group, or None."""
    if not file.is_file():
        return None
    saved = read_json(file, "delete it to submit the job again")
    return JOBS[saved["cluster"]][0](file.parent / "job", saved["id"], range(saved["tasks"]))


def _job_failure(task: submitit.Job[None], log: Path) -> str:
    """Return why a job failed: from the cell's log, or from the job's own output if the cell did not start."""
    return failure_message(
        f"job {task.job_id} ended ({task.state.lower()})", log if log.is_file() else task.paths.stderr
    )


def slurm_parameters(words: Sequence[str]) -> dict[str, Any]:
    """Read submitit's parameters from words such as "timeout_min=1440".

    Values are JSON, or else text. They are not YAML, because YAML reads 24:00:00 as a number.
    """
    parameters: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--slurm: found {word!r}; expected NAME=VALUE")
        try:
            parameters[name] = json.loads(value)
        except json.JSONDecodeError:
            parameters[name] = value
    return parameters
