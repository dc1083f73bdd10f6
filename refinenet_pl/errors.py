"""The exceptions whose messages are printed without a traceback."""

from collections.abc import Callable
from typing import ClassVar


class UserError(Exception):
    """A wrong path, key, file or value; the command line prints its message without a traceback.

    The message names the file or key, what was found, what was expected, and what to do.

    Attributes:
        status: Exit status of the command.
    """

    status: ClassVar[int] = 2


class Fault(UserError):
    """What stops a run although the user made no mistake, such as a process that was killed.

    The message names what happened, the likely cause, and what to do.
    """

    status: ClassVar[int] = 1


class Interrupted(Exception):
    """Ctrl-C or a signal stopped the command; the command line prints its message without a traceback.

    Args:
        message: What stopped it, and how to go on.
        status: Exit status of the command.
        afterwards: Called by `tell`, once the state of the run is saved; its text ends the message.
    """

    def __init__(self, message: str, status: int, afterwards: Callable[[], str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.afterwards = afterwards

    def tell(self) -> str:
        """Return the message. Call it when the command ends."""
        return str(self) if self.afterwards is None else f"{self}; {self.afterwards()}"
