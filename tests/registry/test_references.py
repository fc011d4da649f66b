"""References: every form is read once, and what could mean other bytes tomorrow is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.references import (
    AliasReference,
    FolderReference,
    HubReference,
    LoggedModelReference,
    Reference,
    RemoteReference,
    RunReference,
    StageReference,
    VersionReference,
    check_model_name,
    parse_reference,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL_ID = "m-0123456789abcdef0123456789abcdef"

FORMS = [
    ("models:/support/3", VersionReference("support", 3)),
    ("models:/support/12345", VersionReference("support", 12345)),
    ("models:/two words/1", VersionReference("two words", 1)),
    ("models:/support@production", AliasReference("support", "production")),
    ("models:/support@3", AliasReference("support", "3")),
    ("models:/support/Production", StageReference("support", "Production")),
    ("models:/support/Staging", StageReference("support", "Staging")),
    ("models:/support/Archived", StageReference("support", "Archived")),
    ("models:/support/None", StageReference("support", "None")),
    (f"models:/{MODEL_ID}", LoggedModelReference(MODEL_ID)),
    ("runs:/0a1b/model", RunReference("0a1b", "model")),
    ("runs:/0a1b/folder/model", RunReference("0a1b", "folder/model")),
    (f"hf://org/name@{COMMIT}", HubReference("org/name", COMMIT)),
    (f"hf://gpt2@{COMMIT}", HubReference("gpt2", COMMIT)),
    ("/srv/models/minilm", FolderReference(Path("/srv/models/minilm"))),
    ("s3://bucket/prefix", RemoteReference("s3://bucket/prefix", "s3")),
    (
        "mlflow-artifacts:/0/abc/artifacts",
        RemoteReference("mlflow-artifacts:/0/abc/artifacts", "mlflow-artifacts"),
    ),
    ("https://host/model", RemoteReference("https://host/model", "https")),
]


def refusal(text: str) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        parse_reference(text)
    return caught.value


@pytest.mark.parametrize(("text", "reference"), FORMS, ids=[text for text, _ in FORMS])
def test_each_form_is_read(text: str, reference: Reference) -> None:
    """Each documented form is read as what it says."""
    assert parse_reference(text) == reference


@pytest.mark.parametrize(("text", "reference"), FORMS, ids=[text for text, _ in FORMS])
def test_each_form_is_written_back(text: str, reference: Reference) -> None:
    """A reference is written as the text that names it."""
    assert str(reference) == text
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize("text", ["models:/support/production", "models:/support/PRODUCTION"])
def test_stages_ignore_case(text: str) -> None:
    """A stage is read in any case, as MLflow does, and written in its own."""
    assert str(parse_reference(text)) == "models:/support/Production"


def test_leading_zeros_do_not_make_another_version() -> None:
    """One version has one written form."""
    assert str(parse_reference("models:/support/003")) == "models:/support/3"


def test_a_file_uri_is_a_folder() -> None:
    """A file URI names a folder, with its escapes resolved."""
    assert parse_reference("file:///srv/my%20models") == FolderReference(Path("/srv/my models"))


def test_a_relative_folder_is_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A relative folder is meant from the working directory of this moment."""
    monkeypatch.chdir(tmp_path)
    found = parse_reference("out/model")
    assert found == FolderReference(Path.cwd() / "out/model")
    assert parse_reference(str(found)) == found


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tilde names the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_reference("~/model") == FolderReference(tmp_path / "model")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "models:",
        "models:/",
        "models://",
        "models:support/3",
        "models:/support",
        "models:/latest",
        "models:/m-123",
        f"models:/{MODEL_ID.upper()}",
        "models:/support/",
        "models:/support/0",
        "models:/support/-1",
        "models:/support/1.0",
        "models:/support/+1",
        "models:/support/v3",
        "models:/support/٣",
        "models:/support/3/payload",
        "models:/support/champion",
        "models:/@production",
        "models:/support@",
        "models:/support@a/b",
        "runs:",
        "runs:/",
        "runs:/0a1b",
        "runs:/0a1b/",
        "runs:/0a1b//",
        "/srv/\x00/model",
    ],
    ids=ascii,
)
def test_what_is_none_of_the_forms_is_refused(text: str) -> None:
    """Anything else, a bare name among it, is refused before anything is looked up."""
    assert refusal(text).kind is ErrorKind.REFERENCE_INVALID


@pytest.mark.parametrize(
    "text",
    [
        "models:/support/latest",
        "models:/support/Latest",
        "models:/support@latest",
        "models:/support@LATEST",
    ],
)
def test_latest_is_refused(text: str) -> None:
    """Latest names other bytes from one day to the next, however it is written."""
    assert refusal(text).kind is ErrorKind.REFERENCE_INVALID


@pytest.mark.parametrize("text", ["models:/support/3@production", "models:/support@a@b"])
def test_an_ambiguous_alias_is_refused(text: str) -> None:
    """A reference with a version and an alias, or with two aliases, names no one model."""
    assert refusal(text).kind is ErrorKind.REFERENCE_INVALID


@pytest.mark.parametrize(
    "text",
    [
        "hf://org/name",
        "hf://org/name@",
        "hf://org/name@main",
        "hf://org/name@v1.0",
        f"hf://org/name@{COMMIT[:12]}",
        f"hf://org/name@{COMMIT.upper()}",
        f"hf://org/name@{COMMIT}0",
        f"hf://org/name@{COMMIT}\n",
        f"hf://@{COMMIT}",
        f"hf://org/@{COMMIT}",
        f"hf://a/b/c@{COMMIT}",
        f"hf://org name@{COMMIT}",
        f"hf://../..@{COMMIT}",
        f"hf://org/..@{COMMIT}",
        f"hf://org/na--me@{COMMIT}",
        f"hf://org/name.git@{COMMIT}",
    ],
    ids=ascii,
)
def test_a_hub_reference_needs_a_repository_and_a_whole_commit(text: str) -> None:
    """Branches, tags, short commits and names that are no repository are refused."""
    assert refusal(text).kind is ErrorKind.REFERENCE_INVALID


@pytest.mark.parametrize(
    "text",
    [
        "file://[x",
        "file:///srv/%00/model",
        "~no-such-user-of-this-machine/model",
        f"models:/support/{'9' * 5000}",
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_no_foreign_error_escapes(text: str) -> None:
    """What a library underneath cannot read is refused as every other reference is."""
    assert refusal(text).kind is ErrorKind.REFERENCE_INVALID


@pytest.mark.parametrize("text", ["file:", "file://", "file://otherhost/srv/model"])
def test_a_file_uri_without_a_path_on_this_machine_is_refused(text: str) -> None:
    """A file URI that is empty, or names another host, is no folder here."""
    assert refusal(text).kind is ErrorKind.REFERENCE_INVALID


PIECES = st.sampled_from(
    [
        COMMIT,
        MODEL_ID,
        "latest",
        "Production",
        "s3:",
        *"/@a1.~ [\x00",
        "//",
        "m-",
        "%00",
        "models:",
        "runs:",
        "hf:",
        "file:",
    ]
)


@given(text=st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=20))
def test_any_text_is_read_for_good_or_refused(text: str) -> None:
    """Any text is refused, or read as a reference whose own text names the same thing."""
    try:
        reference = parse_reference(text)
    except InvalidInputError as error:
        assert error.kind is ErrorKind.REFERENCE_INVALID
    else:
        assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize("name", ["support", "support-queries", "two words", "日本語", "v1.2_x"])
def test_an_ordinary_name_is_accepted(name: str) -> None:
    """A name that can be loaded again is accepted, and loading it names that model."""
    check_model_name(name)
    assert parse_reference(f"models:/{name}/1") == VersionReference(name, 1)


@pytest.mark.parametrize(
    "name", ["", " ", "\t", "a/b", "a:b", "a@b", "a%2Fb", "a\nb", "a\x00b", "\x1f"], ids=ascii
)
def test_a_name_that_cannot_be_loaded_is_refused(name: str) -> None:
    """A name that MLflow would register and never find again is refused."""
    with pytest.raises(InvalidInputError) as caught:
        check_model_name(name)
    assert caught.value.kind is ErrorKind.NAME_INVALID


@given(name=st.text(max_size=12), version=st.integers(1, 10**6))
def test_an_accepted_name_can_be_named(name: str, version: int) -> None:
    """Every accepted name gives a reference that reads back to exactly that name."""
    try:
        check_model_name(name)
    except InvalidInputError as error:
        assert error.kind is ErrorKind.NAME_INVALID
    else:
        assert parse_reference(f"models:/{name}/{version}") == VersionReference(name, version)
        assert parse_reference(f"models:/{name}@prod") == AliasReference(name, "prod")
