"""S3 clients, one for each environment that they are made in.

Endpoint and credentials come from where AWS's own tools take them, and from MLflow's variables
where MLflow has its own: `MLFLOW_S3_ENDPOINT_URL`, `MLFLOW_S3_IGNORE_TLS`,
`MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE`.
"""

from __future__ import annotations

import os
import threading
import time
from functools import lru_cache
from typing import Any

_CONNECT_S = 10
_READ_S = 30
_ATTEMPTS = 4
_CONNECTIONS = 16
_LIVES_S = 300

_Variables = tuple[tuple[str, str], ...]
_making = threading.Lock()  # making two clients at once is not safe in botocore


def shared_client() -> Any:
    """The client of this environment; several threads may use it at once.

    It is made anew when a variable of the environment changes, and every five minutes.

    Raises:
        BotoCoreError: the environment's settings cannot be used.
        ValueError: the endpoint is no URL.
    """
    with _making:
        return _made(_variables(), int(time.monotonic() / _LIVES_S))


def _variables() -> _Variables:
    """Every variable that a client depends on."""
    prefixes = ("AWS_", "MLFLOW_S3_", "MLFLOW_BOTO_")
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith(prefixes)))


@lru_cache(maxsize=8)
def _made(variables: _Variables, _period: int) -> Any:
    """A client; making one takes a tenth of a second.

    It is botocore's: boto3's session makes the same one, and takes half as long again. The period
    is there because credentials in files may be renewed, and a client does not look there again.
    """
    from botocore.config import Config
    from botocore.session import get_session

    settings = dict(variables)
    ignore_tls = settings.get("MLFLOW_S3_IGNORE_TLS", "").lower() in {"true", "1"}
    config = Config(
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=_CONNECTIONS,
        s3={"addressing_style": settings.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "auto")},
        # what is fetched is compared with its sha256 by whoever asked for it
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        tcp_keepalive=True,
    )
    return get_session().create_client(
        "s3",
        endpoint_url=settings.get("MLFLOW_S3_ENDPOINT_URL") or None,
        verify=False if ignore_tls else None,
        config=config,
    )
