"""The command line: results on stdout, words on stderr, one exit status for each kind of answer."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from typer.testing import CliRunner, Result

import pairlock
from pairlock.cli.app import app, main

MakeFolder = Callable[[str], Path]
PAIRLOCK = [sys.executable, "-c", "from pairlock.cli import main; main()"]


def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(arguments), input=stdin)


@pytest.fixture
def logged(logged_adapter: Any) -> Any:
    """A registry with models:/base/1 and models:/support/1."""
    return logged_adapter


def test_log_prints_the_uri_alone(registry: Any, tiny_model: Path) -> None:
    """`uri=$(pairlock log ...)` gets the URI and nothing else."""
    found = run("log", str(tiny_model), "--name", "base")
    assert found.exit_code == 0
    assert found.stdout == "models:/base/1\n"
    assert "package digest: sha256:" in found.stderr


def test_log_in_json_is_one_document(logged: Any, adapter_folders: MakeFolder) -> None:
    """`--format json` gives everything that was logged, and says nothing on stderr itself."""
    found = run(
        "log", str(adapter_folders("linear")), "--name", "support", "--base", "models:/base/1",
        "--query-instruction", "query: ", "--format", "json",
    )  # fmt: skip
    data = json.loads(found.stdout)
    assert (data["uri"], data["base"]) == ("models:/support/2", "models:/base/1")
    assert (data["kind"], data["query_instruction"]) == ("linear", "query: ")


def test_show_says_what_a_version_stands_on(logged: Any) -> None:
    """The table and the JSON name the base and the digest that the registry recorded."""
    human = run("show", "models:/support/1")
    assert human.exit_code == 0
    assert "base                          models:/base/1" in human.stdout
    data = json.loads(run("show", "models:/support/1", "--format", "json").stdout)
    assert data["manifest"]["base"]["uri"] == "models:/base/1"
    assert set(data["anchors"].values()) == {data["package_digest"]}


def test_show_refuses_a_manifest_that_is_not_the_registered_one(logged: Any) -> None:
    """A manifest that was rewritten after it was registered is not shown."""
    path = Path(run("pull", "models:/base/1").stdout.strip()) / "pairlock.json"
    manifest = json.loads(path.read_bytes())
    manifest["encode"]["query_instruction"] = "something else: "
    path.write_bytes(rfc8785.dumps(manifest))
    found = run("show", "models:/base/1", "--format", "json")
    assert found.exit_code == 1
    error = json.loads(found.stdout)["error"]
    assert (error["category"], error["kind"]) == ("IntegrityError", "package-digest")


def test_verify_of_a_sound_version_exits_0(logged: Any) -> None:
    """A sound version is verified: package, base and golden vectors."""
    found = run("verify", "models:/support/1", "--format", "json")
    data = json.loads(found.stdout)
    assert found.exit_code == 0
    assert data["passed"] is True
    outcomes = {check["name"]: check["outcome"] for check in data["checks"]}
    assert outcomes == {"package": "passed", "base": "passed", "golden vectors": "passed"}


def test_verify_lists_every_damage_and_exits_1(logged: Any) -> None:
    """Two damaged files of a base are both listed, and the golden vectors are not computed."""
    payload = Path(run("pull", "models:/base/1").stdout.strip()) / "payload" / "model"
    weights = payload / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (payload / "modules.json").unlink()
    found = run("verify", "models:/support/1")
    assert found.exit_code == 1
    assert "payload/model/model.safetensors" in found.stdout
    assert "payload/model/modules.json" in found.stdout
    assert "skipped  golden vectors" in found.stdout


def test_embed_gives_what_load_gives(logged: Any) -> None:
    """One JSON list of numbers for each text, as the role asked for, from arguments and stdin."""
    embedding = pairlock.load("models:/support/1")
    query = run("embed", "models:/support/1", "a refund")
    assert json.loads(query.stdout) == embedding.get_query_embedding("a refund")
    text = run("embed", "models:/support/1", "-", "--role", "text", stdin="a refund\nan invoice\n")
    assert [json.loads(line) for line in text.stdout.splitlines()] == (
        embedding.get_text_embedding_batch(["a refund", "an invoice"])
    )


def test_pull_prints_where_a_package_lies(logged: Any) -> None:
    """The path alone is on stdout, and a package lies there."""
    found = run("pull", "models:/support/1")
    assert (Path(found.stdout.rstrip("\n")) / "pairlock.json").is_file()


def test_pull_to_a_folder_gives_a_package_that_loads(logged: Any, tmp_path: Path) -> None:
    """The copy is proved, has the same digest, and loads from its folder."""
    target = tmp_path / "copies" / "base"
    found = run("pull", "models:/base/1", "--to", str(target), "--format", "json")
    data = json.loads(found.stdout)
    assert data["path"] == str(target)
    digest = data["package_digest"]
    assert pairlock.load(str(target), expected_digest=digest).package_digest == digest
    assert [path.name for path in target.parent.iterdir()] == ["base"]


def test_pull_never_overwrites(logged: Any, tmp_path: Path) -> None:
    """A folder with files in it is left as it is."""
    (tmp_path / "mine.txt").write_text("mine")
    found = run("pull", "models:/base/1", "--to", str(tmp_path), "--format", "json")
    assert found.exit_code == 2
    assert json.loads(found.stdout)["error"]["kind"] == "target-exists"
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_pull_that_cannot_write_leaves_nothing(logged: Any, tmp_path: Path) -> None:
    """A write that fails half-way is exit status 3, and no partial copy stays."""
    # a limit on the size of files fails writes as a full disk does, half-way through the weights
    limited = 'ulimit -f 4; exec "$@"'
    found = subprocess.run(
        ["bash", "-c", limited, "bash", *PAIRLOCK, "pull", "models:/base/1", "--to",
         str(tmp_path / "to" / "base")],
        capture_output=True, text=True, check=False,
        env={**os.environ, "MLFLOW_TRACKING_URI": logged.uri, "MLFLOW_REGISTRY_URI": logged.uri},
    )  # fmt: skip
    assert found.returncode == 3, found.stderr
    assert "cannot copy to" in found.stderr
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "kind"),
    [
        (["show", "models:/support"], 2, "reference-invalid"),
        (["show", "models:/support/latest"], 2, "reference-invalid"),
        (["verify", "models:/support/99"], 3, "model-not-found"),
        (["verify", "models:/nobody@here"], 3, "model-not-found"),
        (["embed", "nowhere", "text"], 3, "folder-missing"),
        (["embed", "gs://bucket/key", "text"], 3, "store-unsupported"),
        (["embed", f"hf://org/name@{'0' * 40}", "text"], 2, "reference-invalid"),
        (["embed", "models:/support/1", "text", "--device", "cuda:7"], 3, "device-unavailable"),
        (["embed", "models:/support/1", "text", "--device", "abacus"], 2, "argument-invalid"),
        (["pull", "models:/support/1", "--digest", "sha256:12"], 2, "argument-invalid"),
        (["pull", "models:/support/1", "--digest", "0" * 64], 1, "package-digest"),
        (["log", "nowhere", "--name", "x"], 3, "folder-missing"),
        (["log", ".", "--name", "a/b"], 2, "name-invalid"),
    ],
)
def test_every_mistake_has_its_exit_status(
    logged: Any, arguments: list[str], status: int, kind: str
) -> None:
    """A mistake is an error document with its kind, a hint, and the exit status of its category."""
    found = run(*arguments, "--format", "json")
    assert found.exit_code == status, found.stdout
    error = json.loads(found.stdout)["error"]
    assert error["kind"] == kind
    assert error["hint"]


def test_errors_for_a_person_go_to_stderr(logged: Any) -> None:
    """Without JSON nothing is on stdout, and stderr ends with what to do next."""
    found = run("show", "models:/support/99")
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert found.stderr.splitlines()[-1].startswith("hint: ")


def test_an_adapter_without_its_base_is_told_so(logged: Any, adapter_folders: MakeFolder) -> None:
    """Forgetting --base is wrong usage, and no version comes of it."""
    found = run("log", str(adapter_folders("linear")), "--name", "orphan", "--format", "json")
    assert found.exit_code == 2
    assert json.loads(found.stdout)["error"]["checked"] == "base"
    assert run("show", "models:/orphan/1").exit_code == 3


def test_doctor_finds_nothing_wrong_here(logged: Any) -> None:
    """On a working machine doctor exits 0 and names the registry."""
    found = run("doctor", "--format", "json")
    data = json.loads(found.stdout)
    assert found.exit_code == 0, data
    assert {"name": "registry", "value": logged.uri, "problem": ""} in data["facts"]


def test_doctor_finds_a_broken_registry(logged: Any, tmp_path: Path) -> None:
    """A database that is none is a problem, and exit status 1."""
    from support.registries import active

    (tmp_path / "broken.db").write_bytes(b"not a database" * 100)
    with active(f"sqlite:///{tmp_path}/broken.db"):
        found = run("doctor", "--format", "json")
        shown = run("show", "models:/base/1", "--format", "json")
    assert found.exit_code == 1
    problems = [fact["name"] for fact in json.loads(found.stdout)["facts"] if fact["problem"]]
    assert problems == ["registry state"]
    assert shown.exit_code == 3
    assert json.loads(shown.stdout)["error"]["kind"] == "registry-unavailable"


def test_a_server_that_is_gone_could_not_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers at the registry's address: exit status 3, and the address is named."""
    from support.registries import active

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with active("http://127.0.0.1:9"):
        found = run("show", "models:/base/1", "--format", "json")
    assert found.exit_code == 3
    error = json.loads(found.stdout)["error"]
    assert error["kind"] == "registry-unavailable"
    assert "http://127.0.0.1:9" in error["checked"]


def test_doctor_does_not_make_a_registry(tmp_path: Path) -> None:
    """Looking at a place without a registry leaves it without one."""
    from support.registries import active

    with active(f"sqlite:///{tmp_path}/mlflow.db"):
        assert run("doctor").exit_code == 0
        assert run("show", "models:/base/1").exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_exits_2() -> None:
    """A mistyped command and a missing argument are wrong usage."""
    assert run("shwo").exit_code == 2
    assert run("show").exit_code == 2
    assert run("verify", "models:/a/1", "--format", "yaml").exit_code == 2


def test_every_command_documents_the_exit_status() -> None:
    """`--help` of each command says what the exit status means."""
    for command in ([], ["log"], ["show"], ["verify"], ["embed"], ["pull"], ["doctor"]):
        found = run(*command, "--help")
        assert found.exit_code == 0
        assert "Exit status:" in found.stdout


def test_a_defect_exits_70(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """An error that is nobody's fault but ours says so and exits 70."""

    def broken(uri: str) -> None:
        raise ZeroDivisionError(uri)

    monkeypatch.setattr("pairlock.show.show", broken)
    monkeypatch.setattr(sys, "argv", ["pairlock", "show", "models:/a/1"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 70
    assert "defect in Pairlock" in capsys.readouterr().err


def test_help_starts_without_the_heavy_libraries() -> None:
    """`pairlock --help` imports neither torch, MLflow, LlamaIndex nor numpy."""
    program = (
        "import sys; sys.argv = ['pairlock', '--help']\n"
        "from pairlock.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'torch', 'mlflow', 'llama_index', 'numpy', 'transformers', 'rich'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.splitlines()[-1] == "heavy: []"


def test_progress_is_drawn_on_a_terminal_only(logged: Any, tmp_path: Path) -> None:
    """stderr that is a terminal gets bars; stdout holds the path alone either way."""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": logged.uri,
        "MLFLOW_REGISTRY_URI": logged.uri,
        "TERM": "xterm",
    }
    command = [*PAIRLOCK, "pull", "models:/base/1"]
    ours, theirs = pty.openpty()
    drawn = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment, check=True
    )
    os.close(theirs)
    terminal = os.read(ours, 1 << 16).decode()
    os.close(ours)
    plain = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert drawn.stdout == plain.stdout
    assert "\x1b[" in terminal
    assert "\x1b[" not in plain.stderr


def test_a_closed_pipe_is_no_error(logged: Any) -> None:
    """`pairlock show ... | true` ends quietly, with the command's own exit status."""
    found = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | true', "bash", *PAIRLOCK, "show", "models:/base/1"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MLFLOW_TRACKING_URI": logged.uri, "MLFLOW_REGISTRY_URI": logged.uri},
    )
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr
