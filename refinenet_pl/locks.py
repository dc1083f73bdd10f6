"""A lock on a file: it shows that a process works on a run or on a cell of a study."""

from typing import IO

from refinenet_pl.errors import UserError

LOCKED = "locked by another process that works on it"


def try_lock(file: IO[str]) -> bool:
    """Lock an open file without waiting.

    The lock is held until the file is closed, here and in every process that inherits it.

    Returns:
        Whether this process has the lock. Otherwise another process has it.

    Raises:
        UserError: The operating system has no such locks.
    """
    try:
        import fcntl  # POSIX only
    except ImportError as error:
        raise UserError("runs and studies need POSIX file locks: use Linux or macOS") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
