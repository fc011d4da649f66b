"""`pairlock policy`: what is checked, shown, stored and removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModelTag
from typer.testing import CliRunner, Result

from pairlock.catalog import MAX_TAG_CHARACTERS
from pairlock.cli.app import app
from pairlock.config import current_settings
from pairlock.errors import ErrorKind, FormatError, InvalidInputError, UnavailableError
from pairlock.in_force import POLICY_TAG, policy_in_force, remove_policy, store_policy
from pairlock.policy import DEFAULT_POLICY, Policy, StagePolicy, policy_digest, read_policy
from support.registries import active

FILE = """
[stages.staging]
[stages.production]
from = ["staging"]
require = ["ndcg@10>=0.7"]
approvals = 1
bypass = ["age", "metrics"]
"""
OWN = """
[stages.canary]
[stages.production]
from = ["canary"]
require = ["ndcg@10>=0.6", "mrr@10>=0.5"]
approvals = 2
bypass = ["age"]
"""


def run(*arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(arguments))


def document(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON of a command."""
    found = run(*arguments, "--format", "json")
    return found.exit_code, json.loads(found.stdout)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, without a policy in it or above."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def named(registry: Any, here: Path) -> Any:
    """A registry with the registered model `support`, which has no versions."""
    registry.client.create_registered_model("support")
    return registry


def test_a_good_file_is_named_and_told(here: Path) -> None:
    """`check` says which file it read, what its stages ask for, and its digest."""
    (here / "pairlock.toml").write_text(FILE)
    status, data = document("policy", "check")
    assert (status, data["file"]) == (0, str(here / "pairlock.toml"))
    assert data["digest"] == policy_digest(read_policy(FILE, where="w"))
    assert data["stages"]["production"]["require"] == ["ndcg@10>=0.7"]
    found = run("policy", "check")
    assert found.exit_code == 0
    assert str(here / "pairlock.toml") in found.stdout
    assert "ndcg@10>=0.7" in found.stdout


def test_every_mistake_is_printed_and_the_status_is_one(here: Path) -> None:
    """`check` lists all problems of the file that it was given, on one run."""
    path = here / "other.toml"
    path.write_text("[stages.latest]\n[stages.s]\napprovals = -1\nfrom = ['x']\n")
    status, data = document("policy", "check", str(path))
    assert status == 1
    assert data["error"]["kind"] == "policy-invalid"
    assert data["error"]["checked"] == str(path)
    places = [finding["place"] for finding in data["error"]["findings"]]
    assert places == ["stages.latest", "stages.s.from", "stages.s.approvals"]
    found = run("policy", "check", str(path))
    assert found.exit_code == 1
    assert all(place in found.stderr for place in [*places, str(path)])


def test_without_a_file_the_default_is_told(here: Path) -> None:
    """Where nobody wrote a policy, `check` says so and shows the default."""
    status, data = document("policy", "check")
    assert (status, data["file"]) == (0, None)
    assert data["digest"] == policy_digest(DEFAULT_POLICY)
    assert list(data["stages"]) == ["production", "staging"]


def test_a_file_that_is_not_there_is_wrong_usage(here: Path, monkeypatch: Any) -> None:
    """A named file that is missing is an error, from the argument and from the variable."""
    status, data = document("policy", "check", "gone.toml")
    assert (status, data["error"]["kind"]) == (2, "argument-invalid")
    monkeypatch.setenv("PAIRLOCK_POLICY", str(here / "gone.toml"))
    assert run("policy", "check").exit_code == 2


def test_the_default_holds_where_nobody_wrote_one(named: Any) -> None:
    """Neither a file nor a stored policy: the default is in force, and said to be."""
    status, data = document("policy", "show", "support")
    assert (status, len(data["sources"])) == (0, 1)
    assert data["digest"] == policy_digest(DEFAULT_POLICY)


def test_a_stored_policy_is_found_again(named: Any, here: Path) -> None:
    """What `store` keeps is the model's policy for everybody, until `--remove`."""
    (here / "own.toml").write_text(OWN)
    assert run("policy", "store", "support", "own.toml").exit_code == 0
    own = read_policy(OWN, where="w")
    tags = named.client.get_registered_model("support").tags
    assert list(tags) == [POLICY_TAG]
    status, data = document("policy", "show", "support")
    assert (status, data["digest"]) == (0, policy_digest(own))
    assert data["sources"] == [f"the tag {POLICY_TAG} of support"]
    assert document("policy", "store", "support", "--remove")[1]["removed"] is True
    assert named.client.get_registered_model("support").tags == {}
    status, data = document("policy", "store", "support", "--remove")
    assert (status, data["removed"]) == (0, False)
    assert document("policy", "show", "support")[1]["digest"] == policy_digest(DEFAULT_POLICY)


def test_both_hold_where_there_are_two(named: Any, here: Path) -> None:
    """A file and a stored policy are merged, the stricter rule of each, and both are named."""
    (here / "own.toml").write_text(OWN)
    (here / "pairlock.toml").write_text(FILE)
    assert run("policy", "store", "support", "own.toml").exit_code == 0
    status, data = document("policy", "show", "support")
    assert (status, len(data["sources"])) == (0, 2)
    assert data["sources"][0] == str(here / "pairlock.toml")
    assert list(data["stages"]) == ["production"]
    rules = data["stages"]["production"]
    assert rules["from"] == [["canary"], ["staging"]]
    assert rules["require"] == ["mrr@10>=0.5", "ndcg@10>=0.7"]
    assert (rules["approvals"], rules["bypass"]) == (2, ["age"])
    text = run("policy", "show", "support").stdout
    assert all(source in text for source in data["sources"])
    (here / "third.toml").write_text(OWN)
    other = document("policy", "show", "support", "--policy", "third.toml")[1]
    assert other["digest"] == policy_digest(read_policy(OWN, where="w"))


def test_the_file_in_the_folder_is_stored_when_none_is_named(named: Any, here: Path) -> None:
    """`store NAME` takes the policy that holds here; without one it says that there is none."""
    status, data = document("policy", "store", "support")
    assert (status, data["error"]["kind"]) == (2, "argument-invalid")
    (here / "pairlock.toml").write_text(OWN)
    assert document("policy", "store", "support")[0] == 0
    assert POLICY_TAG in named.client.get_registered_model("support").tags
    assert run("policy", "store", "support", "pairlock.toml", "--remove").exit_code == 2


def test_a_wrong_file_is_not_stored(named: Any, here: Path) -> None:
    """What cannot be read as a policy never comes onto the model."""
    (here / "pairlock.toml").write_text("[stages.production]\nform = ['staging']")
    assert run("policy", "store", "support").exit_code == 1
    assert named.client.get_registered_model("support").tags == {}


@pytest.mark.parametrize(
    "text", ["no json", "null", '{"stages": {}}', '{"stages": {"s": {"x": 1}}}']
)
def test_a_stored_text_that_is_no_policy_stops_everything(named: Any, text: str) -> None:
    """A damaged stored policy is an error, and neither the file nor the default steps in."""
    named.client.set_registered_model_tag("support", POLICY_TAG, text)
    status, data = document("policy", "show", "support")
    assert (status, data["error"]["kind"]) == (1, "policy-invalid")
    with pytest.raises(FormatError):
        policy_in_force("support", settings=current_settings())


def test_a_policy_that_a_tag_cannot_hold_is_refused(named: Any) -> None:
    """Sqlite would take it and PostgreSQL would not: 5000 characters are the end."""
    policy = Policy({f"stage-{index}": StagePolicy() for index in range(40)})
    with pytest.raises(InvalidInputError) as caught:
        store_policy("support", policy)
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    assert named.client.get_registered_model("support").tags == {}
    assert SqlRegisteredModelTag.__table__.c.value.type.length == MAX_TAG_CHARACTERS


def test_a_model_that_is_not_there_is_not_found(named: Any, here: Path, tmp_path: Path) -> None:
    """No registered model, or no registry: an error, and none of them is made."""
    (here / "pairlock.toml").write_text(OWN)
    for arguments in (["show", "gone"], ["store", "gone"], ["store", "gone", "--remove"]):
        status, data = document("policy", *arguments)
        assert (status, data["error"]["kind"]) == (3, "model-not-found")
    assert [model.name for model in named.client.search_registered_models()] == ["support"]
    database = tmp_path / "none" / "mlflow.db"
    with active(f"sqlite:///{database}"):
        for ask in (
            lambda: policy_in_force("support", settings=current_settings()),
            lambda: store_policy("support", DEFAULT_POLICY),
            lambda: remove_policy("support"),
        ):
            with pytest.raises(UnavailableError) as caught:
                ask()
            assert caught.value.kind is ErrorKind.REGISTRY_UNAVAILABLE
    assert not database.exists()


def test_a_name_that_cannot_be_is_refused(named: Any) -> None:
    """A URI in place of a name is answered before the registry is asked."""
    status, data = document("policy", "show", "models:/support/1")
    assert (status, data["error"]["kind"]) == (2, "name-invalid")
