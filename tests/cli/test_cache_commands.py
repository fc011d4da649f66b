"""The commands about the cache: data on stdout, words on stderr, one exit status for each end."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import pairlock
from pairlock.cli.app import app
from pairlock.config import current_settings
from support.registries import active

MakeFolder = Callable[[str], Path]
PAIRLOCK = [sys.executable, "-c", "from pairlock.cli import main; main()"]
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

pytestmark = pytest.mark.filterwarnings("ignore")


def run(*arguments: str) -> Result:
    """Run a command in this process; a defect would come through as its exception."""
    found = CliRunner().invoke(app, list(arguments))
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found


def data_of(found: Result) -> Any:
    """The one JSON document on stdout."""
    return json.loads(found.stdout)


def whole(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run(
        [*PAIRLOCK, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def cache() -> Path:
    """The cache folder of this test."""
    return current_settings().cache


def age(seconds: float) -> None:
    """Make everything in the cache look unused for so long."""
    past = time.time() - seconds
    for path in [*cache().glob("views/*/*"), *cache().glob("staging/*")]:
        os.utime(path, (past, past))


@pytest.fixture(scope="module")
def exported(
    packaged: Any, shelf: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, str]:
    """An export of an adapter with its base, the adapter's URI and its digest."""
    uri = packaged("linear")
    root = tmp_path_factory.mktemp("exported")
    with active(shelf.uri), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAIRLOCK_CACHE", str(root / "cache"))
        found = run("export", uri, "--to", str(root / "export"), "--format", "json")
    return root / "export", uri, data_of(found)["packages"][0]["package_digest"]


@pytest.fixture
def imported(exported: tuple[Path, str, str]) -> str:
    """The URI of an adapter that is in this test's cache, with its base."""
    assert run("import", str(exported[0])).exit_code == 0
    return exported[1]


@pytest.fixture
def in_s3(s3_registry: Any, tiny_model: Path, adapter_folders: MakeFolder) -> str:
    """The URI of an adapter that lies in S3 with its base, and is not in the cache."""
    pairlock.log_model(tiny_model, registered_model_name="base")
    logged = pairlock.log_model(
        adapter_folders("linear"), base="models:/base/1", registered_model_name="support"
    )
    shutil.rmtree(cache(), ignore_errors=True)
    return logged.uri


# --- pull -----------------------------------------------------------------------------------------


def test_pull_brings_a_package_and_its_base(in_s3: str) -> None:
    """The path alone is on stdout; JSON says what was fetched, from where, and both folders."""
    plain = run("pull", in_s3, "--with-base")
    assert plain.exit_code == 0
    root = Path(plain.stdout.removesuffix("\n"))
    assert (root / "pairlock.json").is_file()
    assert root.is_relative_to(cache())
    assert "bytes verified" in plain.stderr
    assert "fetched" in plain.stderr
    data = data_of(run("pull", in_s3, "--with-base", "--format", "json"))
    assert data["path"] == str(root)
    assert (Path(data["base_path"]) / "modules.json").is_file()
    assert (data["uri"], data["base_found_at"]) == (in_s3, "the cache")
    assert (data["bytes_fetched"], data["warnings"]) == (0, [])
    assert data["bytes_verified"] > 0
    assert DIGEST.fullmatch(data["package_digest"])


def test_pull_offline_and_rehash(in_s3: str) -> None:
    """Offline works after a pull and not before; `--rehash` and `--online` change no result."""
    before = run("pull", in_s3, "--offline", "--format", "json")
    assert before.exit_code == 3
    assert data_of(before)["error"]["kind"] == "offline"
    online = data_of(run("pull", in_s3, "--format", "json"))
    assert online["bytes_fetched"] > 0
    for options in (["--offline"], ["--rehash"], ["--offline", "--rehash"], ["--online"]):
        again = run("pull", in_s3, *options, "--format", "json")
        assert again.exit_code == 0
        assert data_of(again) == {**online, "bytes_fetched": 0}


def test_pull_of_damage_in_s3_is_the_answer_no(in_s3: str, s3: Any) -> None:
    """Other bytes in the bucket: exit status 1, every finding in the JSON, and no result."""
    location = data_of(run("show", in_s3, "--format", "json"))["location"]
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    key = f"{prefix}/payload/adapter/adapter.safetensors"
    client = s3.client()
    body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=body[:-1] + bytes([body[-1] ^ 1]))
    found = run("pull", in_s3, "--format", "json")
    assert found.exit_code == 1
    error = data_of(found)["error"]
    assert error["category"] == "IntegrityError"
    assert [item["place"] for item in error["findings"]] == ["payload/adapter/adapter.safetensors"]
    plain = run("pull", in_s3)
    assert (plain.exit_code, plain.stdout) == (1, "")
    assert plain.stderr.startswith("error: ")


def test_pull_draws_bytes_on_a_terminal(imported: str, in_s3: str) -> None:
    """On a terminal the bytes that arrive are drawn on stderr; stdout has the path only."""
    import mlflow

    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
        "MLFLOW_REGISTRY_URI": mlflow.get_registry_uri(),
        "PAIRLOCK_CACHE": str(cache().with_name("another")),
        "TERM": "xterm",
        "COLUMNS": "120",
    }
    drawn = subprocess.run(
        [*PAIRLOCK, "pull", in_s3, "--with-base"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env=environment,
        check=False,
    )
    os.close(theirs)
    terminal = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert drawn.returncode == 0, terminal
    assert re.search(r"fetch.*[\d.]+/[\d.]+ [kM]?B", terminal), terminal
    (path,) = drawn.stdout.splitlines()
    assert (Path(path) / "pairlock.json").is_file()


# --- cache list, where, verify --------------------------------------------------------------------


def test_an_empty_cache_is_listed_checked_and_pruned_without_being_made() -> None:
    """Nothing is there: exit status 0, an empty result, and no folder comes of it."""
    listed = run("cache", "list", "--format", "json")
    assert listed.exit_code == 0
    assert data_of(listed) == {
        "cache": str(cache()), "size_bytes": 0, "files": 0, "unfinished": 0, "views": [],
    }  # fmt: skip
    verified = run("cache", "verify", "--format", "json")
    assert (verified.exit_code, data_of(verified)["passed"]) == (0, True)
    for options in ([], ["--all"], ["--unused-for", "1"], ["--dry-run"]):
        pruned = run("cache", "prune", *options, "--format", "json")
        assert (pruned.exit_code, data_of(pruned)["removals"]) == (0, [])
    assert run("cache", "where").stdout == f"{cache()}\n"
    assert not cache().exists()


def test_the_list_names_what_is_there(imported: str, exported: tuple[Path, str, str]) -> None:
    """A package by the name it is asked for as, its base model, and what both weigh."""
    data = data_of(run("cache", "list", "--format", "json"))
    views = {view["what"]: view for view in data["views"]}
    assert sorted(views) == ["base model", "package"]
    assert views["package"]["names"] == [imported]
    assert views["package"]["digest"] == exported[2]
    assert all(view["size_bytes"] > 0 and view["used_s_ago"] >= 0 for view in views.values())
    assert data["files"] > 0
    plain = run("cache", "list")
    assert imported in plain.stdout
    assert exported[2][:19] in plain.stdout
    assert str(cache()) in plain.stderr
    assert str(cache()) not in plain.stdout


def test_where_names_the_folder_of_a_package(imported: str) -> None:
    """The folder is in the cache; what was never asked for has none."""
    found = run("cache", "where", imported)
    assert (Path(found.stdout.strip()) / "pairlock.json").is_file()
    data = data_of(run("cache", "where", imported, "--format", "json"))
    assert data == {"path": found.stdout.strip(), "cache": str(cache())}
    missing = run("cache", "where", "models:/nobody/1", "--format", "json")
    assert missing.exit_code == 3
    assert data_of(missing)["error"]["hint"]


def test_verify_finds_damage_and_the_next_check_is_clean(imported: str) -> None:
    """A flipped bit is exit status 1 and one finding; what is damaged is not used any more."""
    assert run("cache", "verify").exit_code == 0
    (weights,) = (Path(run("cache", "where", imported).stdout.strip())).rglob("adapter.safetensors")
    content = weights.read_bytes()
    weights.chmod(0o644)
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = run("cache", "verify", "--format", "json")
    assert found.exit_code == 1
    data = data_of(found)
    assert data["passed"] is False
    assert data["findings"]
    assert {item["kind"] for item in data["findings"]} == {"file-digest"}
    refused = run("pull", imported, "--offline", "--format", "json")
    assert (refused.exit_code, data_of(refused)["error"]["kind"]) == (3, "offline")


# --- prune ----------------------------------------------------------------------------------------


def test_prune_keeps_what_was_used_just_now(imported: str) -> None:
    """`--all` right after a use removes nothing, and says what stays."""
    data = data_of(run("cache", "prune", "--all", "--format", "json"))
    assert (data["removals"], data["freed_bytes"]) == ([], 0)
    assert data["kept"]
    plain = run("cache", "prune", "--all")
    assert "kept: " in plain.stderr
    assert plain.stdout == "freed 0 bytes\n"
    assert run("pull", imported, "--offline").exit_code == 0


def test_prune_says_first_what_it_would_do_and_then_does_it(imported: str) -> None:
    """`--dry-run` lists what the real run removes, and removes nothing."""
    age(3 * 86400)
    size_bytes = data_of(run("cache", "list", "--format", "json"))["size_bytes"]
    for unneeded in (["--unused-for", "4"], ["--unused-for", "1e9"]):
        assert data_of(run("cache", "prune", *unneeded, "--format", "json"))["removals"] == []
    options = ["--unused-for", "2"]
    dry = data_of(run("cache", "prune", *options, "--dry-run", "--format", "json"))
    assert dry["dry_run"] is True
    assert "would free" in run("cache", "prune", *options, "--dry-run").stdout
    assert data_of(run("cache", "list", "--format", "json"))["size_bytes"] == size_bytes
    done = data_of(run("cache", "prune", *options, "--format", "json"))
    assert done["dry_run"] is False
    assert [item["name"] for item in done["removals"]] == [item["name"] for item in dry["removals"]]
    assert done["freed_bytes"] == dry["freed_bytes"] == size_bytes > 0
    left = data_of(run("cache", "list", "--format", "json"))
    assert (left["views"], left["files"]) == ([], 0)
    assert run("pull", imported, "--offline").exit_code == 3


def test_prune_all_removes_what_is_not_in_use(imported: str) -> None:
    """Everything that was not used lately goes; a package used meanwhile stays whole."""
    age(3600)
    assert run("pull", imported, "--offline").exit_code == 0  # and so it was used now
    data = data_of(run("cache", "prune", "--all", "--format", "json"))
    assert [item["what"] for item in data["removals"]][:1] == ["base model"]
    assert run("pull", imported, "--offline", "--rehash").exit_code == 0
    assert run("pull", imported, "--offline", "--with-base").exit_code == 3


# --- export and import ----------------------------------------------------------------------------


def test_export_and_import_print_what_they_made(
    exported: tuple[Path, str, str], shelf: Any, tmp_path: Path
) -> None:
    """`export` prints the folder, `import` the URIs; JSON has the digests of both."""
    _, uri, digest = exported
    target = tmp_path / "again"
    with active(shelf.uri):
        found = run("export", uri, "--to", str(target))
    assert (found.exit_code, found.stdout) == (0, f"{target}\n")
    assert digest in found.stderr
    came = run("import", str(target))
    assert (came.exit_code, came.stdout) == (0, f"{uri}\n")
    data = data_of(run("import", str(target), "--digest", digest, "--format", "json"))
    assert [item["package_digest"] for item in data["packages"]] == [digest]
    assert run("embed", uri, "a refund", "--offline", "--device", "cpu").exit_code == 0


def test_a_name_that_is_taken_needs_replace(
    exported: tuple[Path, str, str], shelf: Any, packaged: Any, tmp_path: Path, imported: str
) -> None:
    """Another package under one name is wrong usage until `--replace` is given."""
    with active(shelf.uri):
        run("export", packaged("linear_bias"), "--to", str(tmp_path / "other"))
    index = json.loads((tmp_path / "other" / "pairlock-export.json").read_bytes())
    index["packages"][0]["uri"] = imported
    (tmp_path / "other" / "pairlock-export.json").write_text(json.dumps(index))
    refused = run("import", str(tmp_path / "other"), "--format", "json")
    assert (refused.exit_code, data_of(refused)["error"]["kind"]) == (2, "target-exists")
    assert run("import", str(tmp_path / "other"), "--replace").exit_code == 0
    data = data_of(run("pull", imported, "--offline", "--format", "json"))
    assert data["package_digest"] == index["packages"][0]["package_digest"]


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "kind"),
    [
        (["pull", "models:/nobody/1"], 3, "model-not-found"),
        (["pull", "models:/nobody/1", "--offline"], 3, "model-not-found"),
        (["pull", "s3://nobody/here", "--offline"], 3, "never-asked"),
        (["pull", "ftp://nobody/here"], 3, "store-unsupported"),
        (["pull", "s3://"], 2, "reference-invalid"),
        (["pull", "models:/x"], 2, "reference-invalid"),
        (["pull", "models:/x/1", "--to", "full"], 2, "target-exists"),
        (["pull", "models:/x/1", "--to", "~no-such-user-here/x"], 2, "argument-invalid"),
        (["pull", "models:/x/1", "--to", "n" * 300], 3, "storage-failed"),
        (["pull", "n" * 300], 3, "storage-failed"),
        (["export", "models:/x/1", "--to", "full"], 2, "target-exists"),
        (["export", "models:/x/1", "--to", "full/file"], 2, "target-exists"),
        (["export", "models:/x/1", "--to", "full/file/below"], 3, "storage-failed"),
        (["export", "models:/x/1", "--to", "new"], 3, "model-not-found"),
        (["export", "models:/x/1", "--to", "~no-such-user-here/x"], 2, "argument-invalid"),
        (["export", "models:/x/1", "--to", "n" * 300], 3, "storage-failed"),
        (["import", "nowhere"], 3, "folder-missing"),
        (["import", "full"], 3, "folder-missing"),
        (["import", "full/file"], 3, "folder-missing"),
        (["import", "~no-such-user-here/x"], 2, "argument-invalid"),
        (["import", "n" * 300], 3, "storage-failed"),
        (["import", "full", "--digest", "x"], 3, "folder-missing"),
        (["cache", "where", "models:/nobody/1"], 3, "model-not-found"),
        (["cache", "where", "nowhere"], 3, "folder-missing"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else None,
)
def test_every_mistake_has_its_exit_status(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    kind: str,
) -> None:
    """A mistake is one error document with its kind and a hint, and leaves everything as it was."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    found = run(*arguments, "--format", "json")
    error = data_of(found)["error"]
    assert (found.exit_code, error["kind"]) == (status, kind)
    assert error["hint"]
    plain = run(*arguments)
    assert (plain.exit_code, plain.stdout) == (status, "")
    assert plain.stderr.startswith("error: ")
    assert (tmp_path / "full" / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path != cache()] == ["full"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["cache"],
        ["cache", "shwo"],
        ["cache", "prune", "--unused-for", "-1"],
        ["cache", "prune", "--unused-for", "x"],
        ["cache", "prune", "--unused-for", "nan"],
        ["cache", "prune", "--unused-for"],
        ["cache", "list", "--format", "yaml"],
        ["cache", "list", "extra"],
        ["export"],
        ["export", "models:/x/1"],
        ["export", "--to", "x"],
        ["import"],
        ["import", "a", "b"],
        ["pull"],
        ["pull", "models:/x/1", "--no-such-option"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    """A command line that cannot be is exit status 2, and nothing is on stdout."""
    found = run(*arguments)
    assert found.exit_code == 2
    assert found.stdout == "" or arguments == ["cache"]


@pytest.mark.parametrize(
    "command",
    [
        ["pull"], ["export"], ["import"], ["cache"],
        ["cache", "list"], ["cache", "prune"], ["cache", "verify"], ["cache", "where"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_documents_the_exit_status(command: list[str]) -> None:
    """`--help` says what the command does and what its exit status means."""
    found = run(*command, "--help")
    assert found.exit_code == 0
    assert "Exit status:" in found.stdout
    assert "Usage: " in found.stdout


COMMANDS = [
    ["cache", "list"],
    ["cache", "prune"],
    ["cache", "verify"],
    ["cache", "where"],
    ["pull", "models:/x/1"],
    ["export", "models:/x/1", "--to", "target"],
    ["import", "source"],
    ["show", "models:/x/1"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("variable", ["PAIRLOCK_OFFLINE", "PAIRLOCK_LOCKS"])
def test_a_variable_that_means_nothing_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, command: list[str], variable: str
) -> None:
    """`PAIRLOCK_OFFLINE=maybe` is refused by every command that reads it, by its name."""
    monkeypatch.setenv(variable, "maybe")
    found = run(*command, "--format", "json")
    assert found.exit_code == 2
    error = data_of(found)["error"]
    assert error["kind"] == "argument-invalid"
    assert variable in error["checked"]


@pytest.mark.parametrize("command", COMMANDS[:4], ids=" ".join)
def test_a_cache_of_a_user_who_is_not_there_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """`PAIRLOCK_CACHE=~nobody/x` cannot be: wrong usage, and no defect."""
    monkeypatch.setenv("PAIRLOCK_CACHE", "~no-such-user-here/cache")
    found = run(*command, "--format", "json")
    assert (found.exit_code, data_of(found)["error"]["kind"]) == (2, "argument-invalid")


@pytest.mark.parametrize("command", COMMANDS[:3], ids=" ".join)
def test_a_cache_of_a_newer_release_is_left_alone(command: list[str]) -> None:
    """A layout that this release does not know: could not check, and nothing is changed."""
    cache().mkdir()
    (cache() / "layout.json").write_text('{"layout": 99}')
    found = run(*command, "--format", "json")
    assert (found.exit_code, data_of(found)["error"]["kind"]) == (3, "cache-too-new")
    assert [path.name for path in cache().iterdir()] == ["layout.json"]


def test_a_cache_path_that_is_a_file_could_not_be_used(in_s3: str, tmp_path: Path) -> None:
    """A file where the cache should be: exit status 3 for what needs it, and the file stays."""
    (tmp_path / "cache").write_text("mine")
    for arguments in (["pull", in_s3], ["pull", in_s3, "--with-base"], ["cache", "list"]):
        found = run(*arguments, "--format", "json")
        if arguments[0] == "pull":
            assert (found.exit_code, data_of(found)["error"]["kind"]) == (3, "storage-failed")
            assert "PAIRLOCK_CACHE" in data_of(found)["error"]["hint"]
    assert (tmp_path / "cache").read_text() == "mine"


def test_a_cache_that_cannot_be_written_could_not_be_used(
    in_s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place where nothing can be made, as root too: exit status 3 and a hint."""
    monkeypatch.setenv("PAIRLOCK_CACHE", "/proc/pairlock-cache")
    found = run("pull", in_s3, "--format", "json")
    assert (found.exit_code, data_of(found)["error"]["kind"]) == (3, "storage-failed")
    assert "PAIRLOCK_CACHE" in data_of(found)["error"]["hint"]
    assert run("cache", "prune", "--all").exit_code == 0


def test_an_import_onto_a_full_disk_says_so(exported: tuple[Path, str, str]) -> None:
    """Writing fails half-way: exit status 3, no traceback, and the next import succeeds."""
    found = subprocess.run(
        ["bash", "-c", 'ulimit -f 4; exec "$@"', "bash", *PAIRLOCK, "import", str(exported[0])],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert found.returncode == 3, found.stderr
    assert found.stdout == ""
    assert "Traceback" not in found.stderr
    assert list(cache().glob("staging/*")) == []
    assert run("import", str(exported[0])).exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        ["cache", "list"],
        ["cache", "list", "--format", "json"],
        ["pull", "models:/nobody/1", "--format", "json"],
    ],
    ids=" ".join,
)
def test_a_closed_pipe_is_no_error(imported: str, command: list[str], tmp_path: Path) -> None:
    """`pairlock … | head -0` ends with the command's own status, and says nothing about pipes."""
    found = subprocess.run(
        ["bash", "-c", '"$@" | head -0; exit "${PIPESTATUS[0]}"', "bash", *PAIRLOCK, *command],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/no.db",
            "MLFLOW_REGISTRY_URI": f"sqlite:///{tmp_path}/no.db",
        },
    )
    assert found.returncode == (3 if command[0] == "pull" else 0), found.stderr
    assert "Traceback" not in found.stderr
    assert "BrokenPipe" not in found.stderr


def test_the_process_keeps_data_and_words_apart(imported: str) -> None:
    """As a process of its own: JSON on stdout and nothing on stderr, or words on stderr alone."""
    good = whole("cache", "list", "--format", "json")
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["views"]
    bad = whole("cache", "prune", "--all", PAIRLOCK_OFFLINE="maybe")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "Traceback" not in bad.stderr
    assert bad.stderr.splitlines()[-1].startswith("hint: ")
