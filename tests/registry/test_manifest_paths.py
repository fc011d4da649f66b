"""File paths in a manifest stay inside the package, on every file system."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_documents import digest_of, file_data, loose_bytes, sample, short

from pairlock.errors import ErrorKind, FormatError
from pairlock.manifest import read_manifest
from pairlock.manifest.paths import colliding_paths, path_problem

HOSTILE = [
    "",
    "/",
    "/etc/passwd",
    "//host/share",
    "..",
    ".",
    "../a",
    "a/../b",
    "a/..",
    "a/./b",
    "./a",
    "a//b",
    "a/",
    "a\\b",
    "..\\a",
    "\\\\host\\share",
    "C:\\a",
    "C:a",
    "a:stream",
    "a\x00b",
    "a\nb",
    "a\x1fb",
    "a\x7fb",
    "con",
    "CON",
    "nul.txt",
    "aux/a",
    "a/PRN",
    "com1",
    "COM9.json",
    "lpt0",
    "lpt¹",
    "a.",
    "a ",
    "a./b",
    "a /b",
    "...",
    "\ud800",
    "a/\udcff",
    "a" * 1025,
    "é" * 513,
]


def refused(document: dict[str, Any]) -> ErrorKind:
    with pytest.raises(FormatError) as caught:
        read_manifest(loose_bytes(document), where="m")
    return caught.value.kind


def full_with(*paths: str) -> dict[str, Any]:
    document = sample("full")
    document["files"] = sorted(
        [*document["files"], *(file_data(path) for path in paths)], key=lambda file: file["path"]
    )
    return document


def based_on(*paths: str, in_order: bool = True) -> dict[str, Any]:
    document = sample()
    files = [file_data(path) for path in (sorted(paths) if in_order else paths)]
    document["base"]["files"] = files
    # what cannot be written as JSON has no digest; the path is refused all the same
    with suppress(ValueError):
        document["base"]["tree_digest"] = digest_of(files)
    return document


@pytest.mark.parametrize("path", HOSTILE, ids=short)
def test_a_hostile_path_has_a_problem(path: str) -> None:
    """A path that leaves the package, or means another file elsewhere, is named a problem."""
    assert path_problem(path) is not None


@pytest.mark.parametrize("path", HOSTILE, ids=short)
def test_a_hostile_payload_path_is_refused(path: str) -> None:
    """A manifest that names a hostile payload path is refused."""
    assert refused(full_with(f"payload/{path}" if path else "")) is ErrorKind.MANIFEST_INVALID
    assert refused(full_with(path)) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize("path", HOSTILE, ids=short)
def test_a_hostile_base_path_is_refused(path: str) -> None:
    """A manifest that names a hostile path in the base it pins is refused."""
    assert refused(based_on(path)) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize(
    "path",
    [
        "config.json",
        "payload/model/1_Pooling/config.json",
        ".hidden",
        "a b/c",
        "日本語/é.json",
        "console",
        "com10",
        "con1.json",
        "a..b",
        "..a",
        "a" * 1024,
    ],
)
def test_an_ordinary_path_has_no_problem(path: str) -> None:
    """Paths that trainers write are accepted."""
    assert path_problem(path) is None


@given(path=st.text(max_size=30) | st.text("./\\: ab\x00cC", max_size=12))
def test_an_accepted_path_stays_inside(path: str) -> None:
    """Whatever is accepted stays inside its folder for POSIX and for Windows."""
    if path_problem(path) is None:
        for flavour in (PurePosixPath(path), PureWindowsPath(path)):
            assert not flavour.is_absolute()
            assert not flavour.drive
            assert ".." not in flavour.parts
            assert flavour.as_posix() == path
    else:
        assert isinstance(path_problem(path), str)


@given(path=st.text(st.characters(), max_size=10))
def test_any_text_is_judged(path: str) -> None:
    """Every string, lone surrogates included, is judged without an error."""
    assert path_problem(path) is None or path_problem(path)


@pytest.mark.parametrize(
    "path",
    [
        "pairlock.json",
        "MLmodel",
        "PAIRING.md",
        "payload",
        "payloads/a",
        "Payload/a",
        "model/config.json",
        "xpayload/a",
    ],
)
def test_a_path_outside_the_payload_is_refused(path: str) -> None:
    """A manifest lists payload files only, never itself or MLflow's files."""
    assert refused(full_with(path)) is ErrorKind.MANIFEST_INVALID


COLLISIONS = [
    ("a.json", "A.json"),
    ("straße", "STRASSE"),
    (unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")),
    (unicodedata.normalize("NFC", "É"), unicodedata.normalize("NFD", "é")),
    ("dir/a", "DIR/a"),
    ("\u212a", "k"),
    # the lower-case letter is one code point; its upper case is two after NFC
    ("\u0390", unicodedata.normalize("NFC", "\u0390".upper())),
    ("a", "a"),
]


@pytest.mark.parametrize("pair", COLLISIONS, ids=short)
def test_paths_that_are_one_file_somewhere_collide(pair: tuple[str, str]) -> None:
    """Two paths that differ only in case or Unicode form are one file on some disks."""
    assert len(colliding_paths(pair)) == 1
    assert len(colliding_paths(reversed(pair))) == 1


@pytest.mark.parametrize("pair", COLLISIONS, ids=short)
def test_a_manifest_with_colliding_paths_is_refused(pair: tuple[str, str]) -> None:
    """A manifest that names one file twice is refused, in the payload and in the base."""
    assert refused(full_with(*(f"payload/model/{path}" for path in pair))) is (
        ErrorKind.MANIFEST_INVALID
    )
    assert refused(based_on(*pair)) is ErrorKind.MANIFEST_INVALID


def test_three_copies_collide_twice() -> None:
    """Every further path for one file is listed."""
    assert len(colliding_paths(["a", "A", "a"])) == 2
    assert colliding_paths(["a", "b", "a/b"]) == []


@given(name=st.text(min_size=1, max_size=6))
def test_unicode_forms_of_one_name_collide(name: str) -> None:
    """The composed and the decomposed form of any name are one file."""
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    assert len(colliding_paths(forms)) == 1


def test_unsorted_files_are_refused() -> None:
    """Files stand in path order, so that one package has one manifest."""
    document = sample("full")
    document["files"].reverse()
    assert refused(document) is ErrorKind.MANIFEST_INVALID
    assert refused(based_on("b", "a", in_order=False)) is ErrorKind.MANIFEST_INVALID
