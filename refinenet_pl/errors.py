"""The one exception for mistakes that the user can mend."""


class UserError(Exception):
    """A wrong path, key, file or value; the command line prints its message without a traceback.

    The message names the file or key, what was found, what was expected, and what to do.
    """
