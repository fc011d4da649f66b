"""Who is acting, as the environment names them. Nothing proves it."""

from __future__ import annotations

import getpass
import socket

from pairlock.config import Settings


def current_actor(settings: Settings) -> str:
    """`PAIRLOCK_ACTOR`, or the user and the machine: `kim@build-7`.

    CI jobs and shared accounts set `PAIRLOCK_ACTOR` to the person they act for.
    """
    if settings.actor is not None:
        return settings.actor
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"  # a container may run under a number that has no name
    return f"{user}@{socket.gethostname()}"
