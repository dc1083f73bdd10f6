"""The lock that a process holds on the cell that it works on."""

from typing import IO

from refinenet_pl.errors import UserError

LOCKED = "locked by another `study run`"


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
        raise UserError("studies need POSIX file locks: run them on Linux or macOS") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
