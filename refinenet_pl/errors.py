"""The exceptions that the command line tells as a message: the user's mistakes, and interruptions."""


class UserError(Exception):
    """A wrong path, key, file or value; the command line prints its message without a traceback.

    The message names the file or key, what was found, what was expected, and what to do.
    """


class Interrupted(Exception):
    """Ctrl-C or a signal stopped the command; the command line prints its message without a traceback.

    Args:
        message: What stopped it, and how to go on.
        status: Exit status of the command.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
