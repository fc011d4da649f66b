"""`pairlock diff`: what users call."""

from __future__ import annotations

from pairlock.comparing.difference import Difference
from pairlock.comparing.rules import compare
from pairlock.comparing.sides import read_side
from pairlock.installed import need
from pairlock.progress import SILENT, Progress


def diff(a: str, b: str, *, offline: bool | None = None, progress: Progress = SILENT) -> Difference:
    """In what one version differs from another: files, base, settings, metrics, spaces.

    Manifests are read, and golden vectors where they are on this machine: in a local store, or in
    the cache. No weights are read, and nothing is fetched.

    Args:
        a: the version before, as `pairlock.load`: what an index was made with.
        b: the version after: what shall query it.
        offline: as `pairlock.load`; metrics, profiles and stages are not known then.
        progress: told about the bytes hashed.

    Returns:
        The difference. `same` says whether both are one package; what the registry knows of them,
        such as stages and metrics, may differ all the same.

    Raises:
        IntegrityError: one of the manifests, or of the golden vectors, is not what was registered.
        InvalidInputError: a reference cannot be.
        NotFoundError: there is no such version, or no package.
        UnavailableError: the registry or the store cannot be reached, or MLflow is not installed.
        PairlockError: every other reason not to read one of them.
    """
    need("comparing versions", "mlflow")
    before = read_side(a, offline=offline, progress=progress)
    return compare(before, read_side(b, offline=offline, progress=progress))
