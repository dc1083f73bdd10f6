"""Lets processes that torchrun has started again find each other."""

import os
import socket

from torch import distributed

RESTARTS = "TORCHELASTIC_RESTART_COUNT"
RUN_ID = "TORCHELASTIC_RUN_ID"
NO_ID = "none"
"""torchrun's id of a job that was given none."""


def use_new_port() -> None:
    """Choose a new port for the processes of a restart, on one machine.

    torchrun offers them the store of the earlier processes. It still holds the addresses of those, so that the new
    processes would try to connect to them, fail or wait. On several machines the restarts are not counted alike, so
    that the processes cannot agree in this way: there, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 does the same.
    """
    values = os.environ
    restarts = values.get(RESTARTS, "0")
    if restarts == "0" or values.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or values["GROUP_WORLD_SIZE"] != "1":
        return
    if not distributed.is_available():
        return
    address, port = values["MASTER_ADDR"], values["MASTER_PORT"]
    store = distributed.TCPStore(address, int(port), is_master=False)
    key = f"refinenet/port of restart {restarts}"
    if values["RANK"] == "0":
        with socket.socket() as free:
            free.bind(("", 0))
            store.set(key, str(free.getsockname()[1]))
    if values.get(RUN_ID, NO_ID) == NO_ID:
        values[RUN_ID] = f"{address}:{port}"  # the name of the job stays
    values["MASTER_PORT"] = store.get(key).decode()
    values["TORCHELASTIC_USE_AGENT_STORE"] = "False"
