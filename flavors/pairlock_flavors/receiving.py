"""What every runtime writes on a receipt, and how it says that vectors were wrong."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pairlock import installed
from pairlock.bases import Base
from pairlock.errors import IntegrityError
from pairlock.hashing import ProvedFiles
from pairlock.packages import Package
from pairlock.receipts import BaseReceipt, Check, Receipt
from pairlock.resolution import age_s
from pairlock_flavors.golden_vectors import GoldenResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How a loaded model runs."""

    runtime: str
    device: str
    device_reason: str
    passed_over: tuple[str, ...]
    dtype: str
    merged: bool | None
    libraries: Iterable[str]
    """Distributions whose versions vectors depend on in this runtime."""


def proof(name: str, where: str, result: GoldenResult, uri: str) -> Check:
    """The check that a comparison of vectors passed.

    Args:
        name: what was compared.
        where: how the compared vectors were computed.
        result: what the comparison found.
        uri: what is being loaded.

    Raises:
        IntegrityError: it did not pass: the bytes are right, and the vectors are not.
    """
    if result.findings:
        raise IntegrityError(
            f"{uri} does not compute the vectors that were recorded when it was packaged",
            kind=result.findings[0].kind,
            checked=f"{name}, {where}",
            findings=result.findings,
            done="nothing was loaded",
            hint="the bytes are right, so a library differs: install the versions in the package's "
            "requirements.txt, or compare `pairlock show` with `pairlock doctor`",
        )
    return Check(name=name, detail=f"{where}, 1 - cosine at most {result.worst():.1e}")


def versions_of(distributions: Iterable[str]) -> dict[str, str]:
    """Versions of the distributions that are installed, and of Python."""
    return {"python": platform.python_version(), **installed.versions_of(distributions)}


def make_receipt(
    package: Package,
    base: Base | None,
    running: Running,
    *,
    base_in_memory: str | None,
    proofs: Sequence[Check],
    proved: Sequence[ProvedFiles],
) -> Receipt:
    """The receipt of a load.

    Args:
        package: the proved package.
        base: the proved base of an adapter; None where it was in memory.
        running: how the model runs.
        base_in_memory: where a base that was in memory had been read from.
        proofs: which comparisons of vectors passed.
        proved: the files that were read.
    """
    manifest = package.manifest
    pin = manifest.base
    checks = [Check(name="files", detail=f"{len(manifest.files)} files by path, size and sha256")]
    if package.anchors:
        checks.append(Check(name="package digest", detail=", ".join(package.anchors)))
    base_receipt = None
    if pin is not None:
        detail = f"{len(pin.files)} files by path, size and sha256"
        detail += "" if base is not None else ", when they were read into memory"
        checks.append(Check(name="base", detail=detail))
        base_receipt = BaseReceipt(
            uri=pin.uri,
            loaded_from=base.requested if base else str(base_in_memory),
            tree_digest=pin.tree_digest,
            package_digest=pin.package_digest if base is None else base.package_digest,
        )
    # a base that is in memory was proved when it was read
    in_memory = pin.size_bytes if pin is not None and base is None else 0
    structure = "modules, pooling, maximum length, dimension"
    structure += ", adapter tensors" if manifest.adapter is not None else ""
    checks.append(Check(name="structure", detail=structure))
    checks += proofs
    return Receipt(
        requested=package.located.requested,
        uri=package.located.uri,
        kind=manifest.kind.value,
        package_digest=package.digest,
        anchors=dict(package.anchors),
        dimension=manifest.dimension,
        document_space=manifest.spaces.document,
        query_space=manifest.spaces.query,
        device=running.device,
        device_reason=running.device_reason,
        passed_over=running.passed_over,
        dtype=running.dtype,
        merged=running.merged,
        runtime=running.runtime,
        base=base_receipt,
        checks=tuple(checks),
        location=package.located.location,
        loaded_from=str(package.root),
        answer_age_s=age_s(package.located),
        bytes_verified=sum(files.size_bytes for files in proved) + in_memory,
        bytes_hashed=sum(files.hashed_bytes for files in proved),
        bytes_fetched=package.fetched_bytes + (base.fetched_bytes if base else 0),
        warnings=(*package.located.warnings, *(base.warnings if base else ())),
        libraries=versions_of(running.libraries),
    )
