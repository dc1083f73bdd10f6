"""Asks whether a server can be reached."""

import urllib.error
import urllib.request
from threading import Thread

PATIENCE = 5.0
"""Seconds to wait for an answer. Libraries try several times and take half a minute."""


def answers(server: str, patience: float = PATIENCE) -> bool:
    """Return whether a server answers in time, if only with an error.

    Args:
        server: Its address, such as https://huggingface.co. Proxies of the environment are used.
        patience: Seconds to wait.
    """
    answered = []

    def ask() -> None:
        try:
            urllib.request.urlopen(server, timeout=patience).close()
        except urllib.error.HTTPError:
            pass
        except OSError:
            return
        answered.append(server)

    # A thread, because looking up the server's address has no timeout of its own.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return bool(answered)
