"""`pairlock verify`: everything that can be proved about a version, with every finding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from pairlock._bridge import proving
from pairlock.bases import Base, examine_base
from pairlock.config import Settings, current_settings
from pairlock.errors import ErrorKind, Finding, FormatError, IntegrityError
from pairlock.manifest import BasePin
from pairlock.packages import Package, examine_package
from pairlock.progress import SILENT, Progress
from pairlock.resolution import resolve
from pairlock.wording import counted

GOLDEN, GRAPH = "golden vectors", "graph"
"""The checks of what a version computes: by the runtime that a load takes, and by its graph beside
that."""


class Outcome(StrEnum):
    """What a check came to."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check."""

    name: str
    outcome: Outcome
    detail: str
    findings: tuple[Finding, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What is proved about a version, and what is wrong with it."""

    requested: str
    uri: str
    package_digest: str
    kind: str
    checks: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.outcome is not Outcome.FAILED for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """The verification as JSON data."""
        data = asdict(self)
        data["passed"] = self.passed
        for check, plain in zip(self.checks, data["checks"], strict=True):
            plain["outcome"] = check.outcome.value
            plain["findings"] = [finding.to_dict() for finding in check.findings]
        return data


def verify(
    uri: str,
    *,
    base: str | None = None,
    golden: bool = True,
    expected_digest: str | None = None,
    allow: Iterable[str] = (),
    offline: bool | None = None,
    progress: Progress = SILENT,
) -> Verification:
    """Prove a version: its bytes, its base's bytes, and the vectors it computes.

    Of a version in a remote store this machine's copy is hashed again, and fetched where it is not
    whole; what was damaged in it is fetched again.

    Args:
        uri: as `pairlock.load`.
        base: as `pairlock.load`.
        golden: whether to recompute the golden vectors in float32 on the CPU: by the runtime that a
            load takes, and where that is torch, by the package's graph as well.
        expected_digest: as `pairlock.load`.
        allow: as `pairlock.load`.
        offline: as `pairlock.load`.
        progress: told about the work.

    Returns:
        Every check with every finding; it does not stop at the first.

    Raises:
        NotFoundError: the version, its bytes or its base is not there, so nothing can be said.
        FormatError: the manifest cannot be read.
        PairlockError: every other reason why it could not be checked.
    """
    settings = current_settings(offline=offline, rehash=True, allow=allow)
    located = resolve(uri, settings)
    package = examine_package(
        located, settings=settings, progress=progress, expected_digest=expected_digest
    )
    files = len(package.manifest.files)
    anchors = ", ".join(package.anchors) or "nothing outside the package"
    checks = [
        _result(
            "package",
            package.findings,
            f"{counted(files, 'file')} by path, size and sha256; digest recorded by: {anchors}",
        )
    ]
    found_base: Base | None = None
    pin = package.manifest.base
    if pin is not None:
        found_base, findings = _examine_base(pin, base, settings, progress)
        place = found_base.requested if found_base else base or pin.uri
        checks.append(
            _result("base", findings, f"{place}: {counted(len(pin.files), 'file')}, as pinned")
        )
    if not golden:
        checks.append(_skipped(GOLDEN, "not asked for"))
    elif any(check.outcome is Outcome.FAILED for check in checks):
        checks.append(_skipped(GOLDEN, "the bytes are wrong, so nothing was loaded"))
    else:
        checks += _computed(package, found_base, settings, progress)
    return Verification(
        requested=uri,
        uri=located.uri,
        package_digest=package.digest,
        kind=package.manifest.kind.value,
        checks=tuple(checks),
    )


def _examine_base(
    pin: BasePin, instead: str | None, settings: Settings, progress: Progress
) -> tuple[Base | None, tuple[Finding, ...]]:
    try:
        return examine_base(pin, instead=instead, settings=settings, progress=progress)
    except IntegrityError as error:
        if not error.findings:
            raise
        return None, error.findings


def _computed(
    package: Package, base: Base | None, settings: Settings, progress: Progress
) -> list[CheckResult]:
    """What the version computes: in the runtime that a load takes, and by its graph."""
    runtime = proving().golden_runtime(settings)
    checks = [_golden(GOLDEN, runtime, package, base, settings, progress)]
    if runtime != "torch" or "onnx" not in package.manifest.runtimes:
        return checks
    if missing := proving().missing_for_graphs():
        return [*checks, _skipped(GRAPH, f"{', '.join(missing)} not installed")]
    try:
        checks.append(_golden(GRAPH, "onnx", package, base, settings, progress))
    except FormatError as error:
        if error.kind is not ErrorKind.FORMAT_TOO_NEW:
            raise
        checks.append(_skipped(GRAPH, error.summary))  # torch runs the version all the same
    return checks


def _golden(
    name: str,
    runtime: str,
    package: Package,
    base: Base | None,
    settings: Settings,
    progress: Progress,
) -> CheckResult:
    with progress.step(name):
        try:
            result = proving().golden_result(
                package, base, settings, runtime=runtime, progress=progress
            )
            package.proved.check_unchanged()
            if base is not None:
                base.proved.check_unchanged()
        except (IntegrityError, FormatError) as error:
            if isinstance(error, FormatError) and error.kind is not ErrorKind.RUNTIME_INVALID:
                raise
            findings = error.findings or (
                Finding(
                    kind=error.kind,
                    place=error.checked,
                    expected=error.expected,
                    found=error.found,
                ),
            )
            return _result(name, findings, error.summary)
    figures = {role: deviation.to_dict() for role, deviation in result.deviations.items()}
    texts = package.manifest.golden.texts
    by = ", by onnxruntime" if runtime == "onnx" else ""
    detail = (
        f"{counted(texts, 'text')}, float32 on the CPU{by}, 1 - cosine at most {result.worst():.1e}"
    )
    return _result(name, result.findings, detail, figures)


def _result(
    name: str,
    findings: tuple[Finding, ...],
    detail: str,
    figures: dict[str, Any] | None = None,
) -> CheckResult:
    outcome = Outcome.FAILED if findings else Outcome.PASSED
    return CheckResult(
        name=name, outcome=outcome, detail=detail, findings=findings, figures=figures or {}
    )


def _skipped(name: str, why: str) -> CheckResult:
    return CheckResult(name=name, outcome=Outcome.SKIPPED, detail=why)
