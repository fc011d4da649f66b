"""`pairlock profile`: what a version does on a device, measured, and kept beside the version."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pairlock._bridge import flavor, measuring
from pairlock.catalog import Located, read_evidence, store_evidence
from pairlock.config import current_settings
from pairlock.errors import ErrorKind, InvalidInputError, PairlockError
from pairlock.packages import open_package
from pairlock.progress import SILENT, Progress
from pairlock.receipts import receipt
from pairlock.resolution import resolve

PROFILE_TAG = "pairlock.profile."
"""Tags of a registered version; `<device type>.<dtype>` follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a version did on a device of this machine."""

    uri: str
    """What was measured: a version, a logged model or a folder."""

    package_digest: str
    device: str
    """torch's name, such as `cuda:0`."""

    device_type: str
    dtype: str
    card: str
    """What the GPU, or the processor, calls itself."""

    threads: int
    """Threads that torch used on the CPU."""

    batch_size: int
    short_per_s: float
    """Vectors per second, texts of twelve words in batches of `batch_size`."""

    longest_per_s: float
    """Vectors per second, texts of as many tokens as the model reads."""

    query_median_s: float
    query_p95_s: float
    """Seconds for one query of twelve words."""

    peak_bytes: int
    peak_of: str
    """What `peak_bytes` counts; it differs by device."""

    process_peak_bytes: int | None
    """Most memory that the measuring process has had, Python and all libraries in it."""

    one_minus_cosine: float
    """Largest deviation of any golden vector from the recorded float32 one."""

    max_abs: float
    """Largest difference of any component, per unit of the vector's norm."""

    within_bars: bool
    """Whether every golden vector is within the bars for the dtype."""

    findings: tuple[str, ...]
    """One line for every golden vector that is not."""

    taken_at: str
    """UTC, ISO 8601, to the second."""

    libraries: Mapping[str, str]
    """Versions in the measuring process."""

    stored_as: str | None = None
    """The tag on the registered version that holds the profile; None when it was not stored."""

    not_stored: str | None = None
    """Why not."""

    store_error: PairlockError | None = None
    """What the registry said, where storing failed."""

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON data."""
        data = self._facts()
        data["stored_as"], data["not_stored"] = self.stored_as, self.not_stored
        data["store_error"] = None if self.store_error is None else self.store_error.to_dict()
        return data

    def to_tag(self) -> str:
        """The profile as it is stored: compact JSON, without what the version knows by itself."""
        data = self._facts()
        del data["uri"]
        data["findings"] = data["findings"][:_MOST_FINDINGS]
        return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def _facts(self) -> dict[str, Any]:
        data = asdict(replace(self, store_error=None))
        for name in ("stored_as", "not_stored", "store_error"):
            del data[name]
        return {**data, "libraries": dict(self.libraries), "findings": list(self.findings)}


_MOST_FINDINGS = 20
"""Findings that a tag holds: some 3 kB of the 100 kB that MLflow takes."""


def profile(
    uri: str,
    *,
    device: str = "auto",
    dtype: str | None = None,
    base: str | None = None,
    texts: int | None = None,
    allow: Iterable[str] = (),
    offline: bool | None = None,
    store: bool = True,
    progress: Progress = SILENT,
) -> Profile:
    """Measure a version on a device of this machine, and keep the figures beside the version.

    Args:
        uri: as `pairlock.load`.
        device: as `pairlock.load`.
        dtype: as `pairlock.load`; None for the package's own.
        base: as `pairlock.load`.
        texts: how many texts to embed for each of the two speeds; two batches when left out.
        allow: as `pairlock.load`.
        offline: as `pairlock.load`; nothing is stored then.
        store: whether to store the profile as a tag of the registered version. What is no version,
            such as a folder, is measured and nothing is stored.
        progress: told about the work.

    Returns:
        The figures. Where storing failed they are there all the same, with `store_error`.

    Raises:
        InvalidInputError: an argument cannot be.
        IntegrityError: the version is not what was approved, also by the vectors that it gives on
            the device, where a load compares them.
        UnavailableError: torch is not installed.
        PairlockError: every other reason not to load.
    """
    if texts is not None and texts < 1:
        raise InvalidInputError(
            f"{texts} texts cannot be measured",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="texts",
            expected="1 or more",
            found=str(texts),
            done="nothing was loaded",
            hint="leave it out for two batches",
        )
    settings = current_settings(offline=offline)
    meter, opener = measuring(), flavor()
    located = resolve(uri, settings)
    package = open_package(located, settings=settings, progress=progress)
    embedding = opener.load_model(
        located.uri,
        runtime="torch",  # devices and dtypes are torch's
        device=device,
        dtype=dtype,
        base=base,
        expected_digest=package.digest,
        allow=allow,
        offline=offline,
        progress=progress,
    )
    with progress.step("measure"):
        found = meter.measure(embedding, package.manifest, package.root, texts=texts)
    package.proved.check_unchanged()  # the golden vectors were read after the proof
    proof = receipt(embedding)
    taken = Profile(
        uri=located.uri,
        package_digest=package.digest,
        device=proof.device,
        device_type=found.device_type,
        dtype=proof.dtype,
        card=found.card,
        threads=found.threads,
        batch_size=found.batch_size,
        short_per_s=found.short.per_second,
        longest_per_s=found.longest.per_second,
        query_median_s=found.query_median_s,
        query_p95_s=found.query_p95_s,
        peak_bytes=found.peak_bytes,
        peak_of=found.peak_of,
        process_peak_bytes=found.process_peak_bytes,
        one_minus_cosine=found.one_minus_cosine,
        max_abs=found.max_abs,
        within_bars=not found.findings,
        findings=found.findings,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        libraries=dict(proof.libraries),
    )
    return _stored(taken, located) if store else replace(taken, not_stored="not asked for")


def stored_profiles(located: Located, digest: str) -> dict[str, dict[str, Any] | None]:
    """The profiles that are stored beside a version.

    Args:
        located: the version; anything else, or an answer that is only remembered, has none.
        digest: its package digest.

    Returns:
        Profiles by `<device type>.<dtype>`; None for a tag that does not hold one of this package.

    Raises:
        UnavailableError: the registry did not answer.
    """
    if located.name is None or located.version is None or located.remembered_at is not None:
        return {}
    tags = read_evidence(located.name, located.version, PROFILE_TAG)
    return {name: _parsed(text, digest) for name, text in tags.items()}


def describe_profile(data: Mapping[str, Any] | None) -> str:
    """A stored profile in one line, for a person."""
    if data is None:
        return "a tag that holds no profile of this package"
    bars = "within the bars" if data["within_bars"] else "NOT within the bars"
    return (
        f"{data['longest_per_s']:.1f} long and {data['short_per_s']:.1f} short texts/s, "
        f"query {1000 * data['query_median_s']:.1f} ms, 1 - cosine {data['one_minus_cosine']:.1e} "
        f"{bars}; {data['card']}, {data['taken_at']}"
    )


def _stored(taken: Profile, located: Located) -> Profile:
    if located.name is None or located.version is None:
        return replace(taken, not_stored=f"{located.uri} is no registered version")
    if located.remembered_at is not None:
        return replace(taken, not_stored="the registry is not asked offline")
    tag = f"{PROFILE_TAG}{taken.device_type}.{taken.dtype}"
    try:
        store_evidence(located.name, located.version, tag, taken.to_tag())
    except PairlockError as error:
        error.done = "the figures were taken, and nothing was stored"
        return replace(taken, not_stored=error.summary, store_error=error)
    return replace(taken, stored_as=tag)


def _parsed(text: str, digest: str) -> dict[str, Any] | None:
    """A tag's profile, or None: anybody who may write to the registry may have written it."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    numbers = ("longest_per_s", "short_per_s", "query_median_s", "one_minus_cosine")
    is_profile = (
        isinstance(data, dict)
        and data.get("package_digest") == digest
        and all(type(data.get(name)) in {int, float} for name in numbers)
        and isinstance(data.get("within_bars"), bool)
        and all(isinstance(data.get(name), str) for name in ("card", "taken_at"))
    )
    return data if is_profile else None
