"""Fake sbatch, scontrol, srun and sacct. They keep the batch files, and run the jobs on this machine if asked to."""

import sys
from pathlib import Path

import pytest

COMMON = """#!{python}
import json, os, re, signal, subprocess, sys
from pathlib import Path
spool = Path({spool!r})

def start(number, environment):
    command = ["sh", "-c", f"bash {{spool / number}}.sh; echo $? > {{spool / number}}.status"]
    null = subprocess.DEVNULL
    job = subprocess.Popen(command, env=environment, start_new_session=True, stdin=null, stdout=null, stderr=null)
    (spool / f"{{number}}.json").write_text(json.dumps({{"group": job.pid, "environment": dict(environment)}}))
"""

SBATCH = """
batch = Path(sys.argv[1]).read_text()
number = str(len(list(spool.glob("*.sh"))) + 1)
kept = spool / f"{number}.sh"
kept.write_text(batch)
if "refused" in batch:
    sys.exit("sbatch: error: invalid partition specified: refused")
options = dict(re.findall(r"^#SBATCH --([^=\\n]+)=(.*)$", batch, re.MULTILINE))
nodes, tasks = options["nodes"], options["ntasks-per-node"]
environment = os.environ | {
    "SLURM_JOB_ID": number, "SLURM_JOB_NAME": options["job-name"], "SLURM_NNODES": nodes, "SLURM_JOB_NUM_NODES": nodes,
    "SLURM_NTASKS_PER_NODE": tasks, "SLURM_NTASKS": str(int(nodes) * int(tasks)),
}
if (spool / "runs").exists():
    start(number, environment)
print(f"Submitted batch job {number}")
"""

SCONTROL = """
number = sys.argv[sys.argv.index("requeue") + 1]
job = json.loads((spool / f"{number}.json").read_text())
if os.getpgrp() == job["group"]:  # the job asks for it itself
    os.setsid()
os.killpg(job["group"], signal.SIGKILL)
restarts = int(job["environment"].get("SLURM_RESTART_COUNT", 0)) + 1
start(number, job["environment"] | {"SLURM_RESTART_COUNT": str(restarts)})
"""

SRUN = """
words = sys.argv[1:]
files = {}
while words[0].startswith("--"):
    option = words.pop(0)
    if option in ("--output", "--error"):
        files[option] = words.pop(0).replace("%j", os.environ["SLURM_JOB_ID"])
tasks = []
for rank in map(str, range(int(os.environ["SLURM_NTASKS"]))):
    ranks = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": "0"}
    with open(files.get("--output", os.devnull).replace("%t", rank), "a") as output, \\
            open(files.get("--error", os.devnull).replace("%t", rank), "a") as error:
        tasks.append(subprocess.Popen(words, env=os.environ | ranks, stdout=output, stderr=error))
sys.exit(max(task.wait() for task in tasks))
"""

SACCT = """
print("JobID|State|NodeList")
for batch in spool.glob("*.sh"):
    status = batch.with_suffix(".status")
    state = "RUNNING" if (spool / "runs").exists() else "PENDING"
    if status.exists():
        state = "COMPLETED" if status.read_text().strip() == "0" else "FAILED"
    print(f"{batch.stem}|{state}|localhost")
"""


def install_fake_slurm(monkeypatch: pytest.MonkeyPatch, folder: Path, *, runs: bool) -> Path:
    """Put the four commands first on the PATH.

    Args:
        monkeypatch: The fixture of the test.
        folder: Folder for the commands and the batch files.
        runs: Run the jobs on this machine. Otherwise they stay in the queue.

    Returns:
        The folder in which sbatch keeps each batch file as JOB.sh.
    """
    spool, programs = folder / "spool", folder / "bin"
    spool.mkdir(parents=True)
    programs.mkdir()
    if runs:
        (spool / "runs").touch()
    for name, script in {"sbatch": SBATCH, "scontrol": SCONTROL, "srun": SRUN, "sacct": SACCT}.items():
        (programs / name).write_text(COMMON.format(python=sys.executable, spool=str(spool)) + script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return spool


def descendants(process: int) -> list[int]:
    """Return all descendants of a process; Linux only."""
    children = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return children + [grandchild for child in children for grandchild in descendants(child)]
