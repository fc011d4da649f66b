"""What a load, a pull and a verify ask MLflow's registry, and who answers.

`interface` is the questions, `sqlite_file`, `server` and `through_mlflow` answer them, and
`choosing` says which of the three does.
"""

from pairlock.catalog.asking.choosing import asked
from pairlock.catalog.asking.interface import (
    Answering,
    LoggedModel,
    Reason,
    RegisteredVersion,
    UnansweredError,
)

__all__ = [
    "Answering",
    "LoggedModel",
    "Reason",
    "RegisteredVersion",
    "UnansweredError",
    "asked",
]
