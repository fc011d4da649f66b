"""`pairlock verify`: everything that can be proved about a version, with every finding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from pairlock._bridge import lean_runtime, runtime
from pairlock.bases import Base, examine_base
from pairlock.config import Settings, current_settings
from pairlock.errors import Finding, IntegrityError
from pairlock.manifest import BasePin
from pairlock.packages import Package, examine_package
from pairlock.progress import SILENT, Progress
from pairlock.resolution import resolve
from pairlock.wording import counted


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
        golden: whether to recompute the golden vectors in float32 on the CPU.
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
        checks.append(_skipped("not asked for"))
    elif any(check.outcome is Outcome.FAILED for check in checks):
        checks.append(_skipped("the bytes are wrong, so nothing was loaded"))
    else:
        checks.append(_golden(package, found_base, settings, progress))
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


def _golden(
    package: Package, base: Base | None, settings: Settings, progress: Progress
) -> CheckResult:
    with progress.step("golden vectors"):
        try:
            result = runtime().golden_result(package, base, settings)
            lean = _lean_result(package, base)
            package.proved.check_unchanged()
            if base is not None:
                base.proved.check_unchanged()
        except IntegrityError as error:
            findings = error.findings or (
                Finding(
                    kind=error.kind,
                    place=error.checked,
                    expected=error.expected,
                    found=error.found,
                ),
            )
            return _result("golden vectors", findings, error.summary)
    figures = {name: deviation.to_dict() for name, deviation in result.deviations.items()}
    texts = package.manifest.golden.texts
    detail = (
        f"{counted(texts, 'text')}, float32 on the CPU, 1 - cosine at most {result.worst():.1e}"
    )
    findings = result.findings
    if lean is not None:
        detail += f"; by onnxruntime at most {lean.worst():.1e}"
        findings += tuple(replace(one, place=f"onnxruntime: {one.place}") for one in lean.findings)
    return _result("golden vectors", findings, detail, figures)


def _lean_result(package: Package, base: Base | None) -> Any | None:
    """The same by the package's graph, which is what it computes without torch."""
    if "onnx" not in package.manifest.runtimes or (lean := lean_runtime()) is None:
        return None
    return lean.golden_result(package, base)


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


def _skipped(why: str) -> CheckResult:
    return CheckResult(name="golden vectors", outcome=Outcome.SKIPPED, detail=why)
