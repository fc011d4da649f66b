"""Comparing what is listed with what is there: everything is found, in path order."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pairlock.digests import FileRecord
from pairlock.errors import ErrorKind
from pairlock.integrity import compare_anchors, compare_digest, compare_entries
from pairlock.stores import Entry, EntryType

RECORD = FileRecord(path="payload/a", size_bytes=3, sha256="ab" * 32)


def record(path: str, size_bytes: int = 3) -> FileRecord:
    return replace(RECORD, path=path, size_bytes=size_bytes)


def entry(size_bytes: int = 3, type_: EntryType = EntryType.FILE) -> Entry:
    return Entry(type=type_, size_bytes=size_bytes, stamp=())


def test_equal_lists_have_no_findings() -> None:
    """Files that are there as listed are no finding."""
    assert compare_entries([record("a"), record("b")], {"a": entry(), "b": entry()}) == ()


def test_every_difference_is_listed_in_path_order() -> None:
    """Missing, extra, wrongly sized and irregular files are all found in one comparison."""
    observed = {
        "e-extra": entry(),
        "d-link": entry(type_=EntryType.LINK),
        "b-size": entry(4),
        "c-other": entry(type_=EntryType.OTHER),
        "ok": entry(),
    }
    expected = [record(path) for path in ("ok", "d-link", "c-other", "b-size", "a-missing")]
    findings = compare_entries(expected, observed)
    assert [(finding.place, finding.kind) for finding in findings] == [
        ("a-missing", ErrorKind.FILE_MISSING),
        ("b-size", ErrorKind.FILE_SIZE),
        ("c-other", ErrorKind.FILE_NOT_REGULAR),
        ("d-link", ErrorKind.FILE_NOT_REGULAR),
        ("e-extra", ErrorKind.FILE_EXTRA),
    ]


def test_an_extra_entry_of_any_type_is_a_finding() -> None:
    """An entry that is not listed is extra, whatever it is."""
    observed = {type_.value: entry(type_=type_) for type_ in EntryType}
    findings = compare_entries([], observed)
    assert {finding.kind for finding in findings} == {ErrorKind.FILE_EXTRA}
    assert len(findings) == len(EntryType)


def test_an_irregular_file_of_the_right_size_is_a_finding() -> None:
    """A link whose size happens to be right is still no regular file."""
    (finding,) = compare_entries([record("a")], {"a": entry(3, EntryType.LINK)})
    assert finding.kind is ErrorKind.FILE_NOT_REGULAR


@given(
    expected=st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2)),
    observed=st.dictionaries(
        st.sampled_from("abcdef"), st.tuples(st.integers(0, 2), st.sampled_from(EntryType))
    ),
)
def test_no_findings_means_equal(
    expected: dict[str, int], observed: dict[str, tuple[int, EntryType]]
) -> None:
    """There are no findings exactly when the same regular files of the same sizes are there."""
    findings = compare_entries(
        [record(path, size) for path, size in expected.items()],
        {path: entry(size, type_) for path, (size, type_) in observed.items()},
    )
    same = observed == {path: (size, EntryType.FILE) for path, size in expected.items()}
    assert (findings == ()) == same
    places = [finding.place for finding in findings]
    assert places == sorted(set(places))


def test_an_equal_digest_is_no_finding() -> None:
    """The recorded digest passes."""
    assert compare_digest(RECORD, RECORD.sha256) is None


def test_another_digest_is_a_finding_with_both_values() -> None:
    """Another digest is found, with the expected and the found value."""
    finding = compare_digest(RECORD, "cd" * 32)
    assert finding is not None
    assert finding.kind is ErrorKind.FILE_DIGEST
    assert finding.place == RECORD.path
    assert "ab" * 32 in finding.expected
    assert "cd" * 32 in finding.found


def test_every_anchor_that_differs_is_a_finding() -> None:
    """A package is compared with each digest recorded elsewhere; equal ones are no finding."""
    anchors = {"version tag": "sha256:aa", "caller": "sha256:bb", "logged model": "sha256:cc"}
    findings = compare_anchors("sha256:bb", anchors)
    assert [finding.kind for finding in findings] == [ErrorKind.PACKAGE_DIGEST] * 2
    assert {finding.expected for finding in findings} == {"sha256:aa", "sha256:cc"}
    assert {finding.found for finding in findings} == {"sha256:bb"}
    assert compare_anchors("sha256:bb", {"caller": "sha256:bb"}) == ()
    assert compare_anchors("sha256:bb", {}) == ()
