"""`pairlock evaluate`: figures are told, logged to the version, and found again."""

from __future__ import annotations

import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric
from typer.testing import CliRunner, Result

import pairlock
from pairlock.catalog import DIGEST_TAG, Located, locate
from pairlock.catalog.metrics import log_model_metrics, read_model_metrics
from pairlock.cli.app import app
from pairlock.errors import ErrorKind, InvalidInputError, UnavailableError
from pairlock.evaluation.recorded import (
    EVALUATION_TAG,
    Measured,
    recorded_metrics,
    same_dataset,
)
from pairlock.metrics import same_metric
from pairlock.references import parse_reference
from support.registries import active
from support.retrieval import write_beir, write_questions


def run(*arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(arguments))


def evaluated(uri: str, dataset: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON of an evaluation on the CPU."""
    found = run(
        "evaluate", uri, "--dataset", str(dataset), "--device", "cpu", *arguments,
        "--format", "json",
    )  # fmt: skip
    return found.exit_code, json.loads(found.stdout)


def recorded(uri: str) -> tuple[Measured, ...]:
    """What is recorded for a version."""
    return recorded_metrics(locate(parse_reference(uri)))


@pytest.fixture
def logged(logged_base: Any) -> Any:
    """A registry with models:/base/1."""
    return logged_base


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as LlamaIndex writes it."""
    return write_questions(tmp_path_factory.mktemp("data") / "questions.json")


def tags_of(registry: Any, name: str = "base") -> dict[str, str]:
    """The evaluation tags of a version."""
    tags = registry.client.get_model_version(name, "1").tags
    return {tag: text for tag, text in tags.items() if tag.startswith(EVALUATION_TAG)}


def model_of(registry: Any, name: str = "base") -> Any:
    """The logged model of a version."""
    source = registry.client.get_model_version(name, "1").source
    return registry.client.get_logged_model(source.removeprefix("models:/"))


def test_figures_are_logged_to_the_version_and_found_again(logged: Any, dataset: Path) -> None:
    """MLflow's model, its run and the version's tag hold every figure with the dataset's digest."""
    status, data = evaluated("models:/base/1", dataset)
    assert status == 0
    digest = data["dataset"]["digest"]
    short = digest.removeprefix("sha256:")
    assert len(data["metrics"]) == 21
    tag = f"{EVALUATION_TAG}{short[:16]}"
    assert data["stored_as"] == tag
    (text,) = tags_of(logged).values()
    stored = json.loads(text)
    assert stored["metrics"] == data["metrics"]
    assert stored["package_digest"] == data["package_digest"]
    assert stored["dataset"] == {"name": "questions", "digest": digest}
    assert stored["texts"] == {"queries": 8, "corpus": 12, "relevant": 11}
    assert (stored["similarity"], stored["dtype"]) == ("cosine", "float32")
    assert stored["libraries"]["sentence-transformers"]
    metrics = model_of(logged).metrics
    assert {metric.key: metric.value for metric in metrics} == {
        name.replace("@", "_"): value for name, value in data["metrics"].items()
    }
    assert {(m.dataset_name, m.dataset_digest, m.run_id) for m in metrics} == {
        ("questions", short[:32], data["run_id"])
    }
    ran = logged.client.get_run(data["run_id"])
    assert ran.info.status == "FINISHED"
    (used,) = ran.inputs.dataset_inputs
    assert {tag.key: tag.value for tag in used.tags}["pairlock.digest"] == digest
    found = recorded("models:/base/1")
    assert {item.metric: item.value for item in found} == data["metrics"]
    assert {item.dataset_digest for item in found} == {digest}
    assert {item.source for item in found} == {f"tag {tag}"}


def test_a_later_run_on_the_same_dataset_comes_after_the_earlier(
    logged: Any, dataset: Path
) -> None:
    """Both runs stay recorded, in the order of their times; the tag has the newest."""
    for _ in range(2):
        assert evaluated("models:/base/1", dataset, "--k", "3")[0] == 0
    assert len(tags_of(logged)) == 1
    found = [item for item in recorded("models:/base/1") if same_metric(item.metric, "ndcg@3")]
    assert [item.source.partition(" ")[0] for item in found] == ["metric", "tag"]
    assert found[0].at_ms < found[1].at_ms
    assert found[0].value == found[1].value
    assert same_dataset(*found)


def test_another_dataset_is_another_tag(logged: Any, dataset: Path, tmp_path: Path) -> None:
    """Figures on two datasets stand side by side, and are never taken for each other."""
    other = write_questions(
        tmp_path / "other.json",
        queries={"q": "who"}, corpus={"d": "me", "e": "you"}, relevant_docs={"q": ["d"]},
    )  # fmt: skip
    for path in (dataset, other):
        assert evaluated("models:/base/1", path, "--k", "1")[0] == 0
    assert len(tags_of(logged)) == 2
    one, two = (item for item in recorded("models:/base/1") if item.metric == "ndcg@1")
    assert not same_dataset(one, two)
    assert same_dataset(one, one)


def test_unknown_datasets_are_never_the_same() -> None:
    """Two values without a digest may be of anything."""
    value = Measured(
        metric="m", value=1.0, dataset_name="d", dataset_digest=None, at_ms=0, source="s"
    )
    assert not same_dataset(value, value)


def test_what_a_training_logged_is_recorded_too(logged: Any) -> None:
    """Metrics of the logged model count whoever logged them; the run's and another's do not."""
    model = model_of(logged)
    run_id = logged.client.create_run(model.experiment_id).info.run_id
    own = Metric("eval_ndcg_10", 0.5, 1_000, 3, model.model_id, "eval", "ab" * 16)
    other = logged.client.create_logged_model(model.experiment_id, name="other").model_id
    foreign = Metric("eval_ndcg_10", 0.9, 2_000, 3, other, "eval", "ab" * 16)
    logged.client.log_batch(run_id, metrics=[own, foreign, Metric("other", 0.7, 1_000, 3)])
    (found,) = recorded("models:/base/1")
    assert (found.metric, found.value, found.at_ms) == ("eval_ndcg_10", 0.5, 1_000)
    assert (found.dataset_name, found.dataset_digest) == ("eval", "ab" * 16)
    assert run_id in found.source


def test_what_is_no_number_is_recorded_as_such(logged: Any) -> None:
    """MLflow gives NaN of a logged model back as 0: a loss that went astray would be the best."""
    model = model_of(logged)
    run_id = logged.client.create_run(model.experiment_id).info.run_id
    values = {"nan": math.nan, "up": math.inf, "down": -math.inf, "zero": 0.0}
    facts = (model.model_id, "eval", "ab" * 16)
    metrics = [Metric(name, value, 1_000, 3, *facts) for name, value in values.items()]
    metrics += [Metric("nan", 0.0, 2_000, 3, *facts), Metric("zero", math.nan, 2_000, 3, *facts)]
    logged.client.log_batch(run_id, metrics=metrics)
    found = recorded("models:/base/1")
    assert {(item.metric, item.at_ms, str(item.value)) for item in found} == {
        *((name, 1_000, str(value)) for name, value in values.items()),
        ("nan", 2_000, "0.0"),
        ("zero", 2_000, "nan"),
    }


def test_a_copied_version_shares_what_its_model_has(logged: Any, dataset: Path) -> None:
    """A version that was copied in the registry finds the metrics of the model under it."""
    evaluated("models:/base/1", dataset, "--k", "1")
    logged.client.copy_model_version("models:/base/1", "copy")
    logged.client.delete_model_version_tag("copy", "1", next(iter(tags_of(logged, "copy"))))
    logged.client.copy_model_version("models:/copy/1", "again")
    own = next(item.value for item in recorded("models:/base/1") if item.metric == "ndcg@1")
    for name in ("copy", "again"):
        found = {item.metric: item.value for item in recorded(f"models:/{name}/1")}
        assert found["ndcg_1"] == own


@pytest.mark.parametrize("how", ["new", "old", "gone"])
def test_a_copy_whose_source_is_another_model_by_now_shares_nothing(
    logged: Any, tiny_other: Path, how: str
) -> None:
    """A name that was deleted and used again is not what the copy came from.

    A newer model of the name is told by its time, also without digests; an older one by its digest.
    """
    client = logged.client
    logged.log(tiny_other, "older")
    client.copy_model_version("models:/base/1", "copy")
    digest = pairlock.receipt(pairlock.load("models:/base/1")).package_digest
    facts = {"dataset_name": "d", "dataset_digest": f"sha256:{'a' * 64}", "dataset_source": "d"}
    client.delete_registered_model("base")
    if how == "gone":
        assert read_model_metrics("copy", 1) == ()
        return
    if how == "old":
        client.rename_registered_model("older", "base")
    else:
        logged.log(tiny_other, "base")
    log_model_metrics("base", 1, {"m": 0.9}, **facts, at_ms=1)
    if how == "new":
        assert pairlock.receipt(pairlock.load("models:/copy/1")).package_digest == digest
        client.delete_model_version_tag("base", "1", DIGEST_TAG)
        client.delete_logged_model_tag(model_of(logged).model_id, DIGEST_TAG)
        client.delete_model_version_tag("copy", "1", DIGEST_TAG)
    assert read_model_metrics("copy", 1) == ()
    assert log_model_metrics("copy", 1, {"m": 0.1}, **facts, at_ms=2) is None
    assert {item.value for item in read_model_metrics("base", 1)} == {0.9}


def test_a_copy_that_took_the_name_of_its_source_names_no_other(logged: Any) -> None:
    """A version whose source is its own name by now has no metrics, and loads."""
    logged.client.copy_model_version("models:/base/1", "copy")
    logged.client.delete_registered_model("base")
    logged.client.rename_registered_model("copy", "base")
    assert read_model_metrics("base", 1) == ()
    assert pairlock.load("models:/base/1").get_text_embedding("a text")


def test_a_version_without_a_logged_model_keeps_the_tag(logged: Any, dataset: Path) -> None:
    """A version that was registered from a folder has no metrics in MLflow; its tag has them."""
    logged.client.create_registered_model("bare")
    logged.client.create_model_version("bare", str(logged.folder_of("models:/base/1")))
    status, data = evaluated("models:/bare/1", dataset, "--k", "1")
    assert (status, data["run_id"]) == (0, None)
    assert data["not_stored"]
    assert list(tags_of(logged, "bare")) == [data["stored_as"]]
    assert read_model_metrics("bare", 1) == ()
    located = locate(parse_reference("models:/bare/1"))
    found = recorded_metrics(located, digest=data["package_digest"])
    assert {item.metric: item.value for item in found} == data["metrics"]
    assert recorded_metrics(located, digest="sha256:0") == ()
    assert recorded_metrics(located) == ()  # nothing says which package the version is


def test_nothing_is_stored_where_that_is_not_wanted_or_not_possible(
    logged: Any, dataset: Path
) -> None:
    """--no-store, a logged model and a folder print figures, say so, and leave nothing behind."""
    folder = logged.folder_of("models:/base/1")
    for uri, *options in (
        ("models:/base/1", "--no-store"),
        (str(folder),),
        (f"models:/{model_of(logged).model_id}",),
    ):
        status, data = evaluated(uri, dataset, "--k", "1", *options)
        assert status == 0
        assert data["metrics"]
        assert data["stored_as"] is data["run_id"] is data["store_error"] is None
        assert data["not_stored"]
    assert tags_of(logged) == {}
    assert not model_of(logged).metrics


@pytest.mark.parametrize("table", ["logged_model_metrics", "model_version_tags"])
def test_a_registry_that_refuses_does_not_take_the_figures_along(
    logged: Any, dataset: Path, table: str
) -> None:
    """Where storing fails the figures are printed, the status says so, and no run stays open."""
    with sqlite3.connect(logged.folder / "mlflow.db") as database:
        database.execute(
            f"CREATE TRIGGER read_only BEFORE INSERT ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'this registry is read-only'); END"
        )
    database.close()
    status, data = evaluated("models:/base/1", dataset, "--k", "1")
    assert status == 3
    assert data["metrics"]["ndcg@1"] >= 0
    assert data["stored_as"] is None
    assert data["store_error"]["kind"] == "registry-unavailable"
    assert tags_of(logged) == {}
    runs = logged.client.search_runs([model_of(logged).experiment_id])
    wanted = "FAILED" if table == "logged_model_metrics" else "FINISHED"
    assert {ran.info.status for ran in runs} == {wanted}
    found = run("evaluate", "models:/base/1", "--dataset", str(dataset), "--device", "cpu")
    assert found.exit_code == 3
    assert "ndcg@10" in found.stdout
    assert found.stderr.startswith("error: ")


STRANGE = [
    "no json",
    "[" * 100_000,
    "[]",
    "null",
    "{}",
    {"package_digest": "sha256:0"},
    {"package_digest": None},
    {"dataset": []},
    {"dataset": {"name": "d"}},
    {"metrics": []},
    {"metrics": {"m": True}},
    {"metrics": {"m": float("nan")}},
    {"metrics": {"m": float("inf")}},
    {"metrics": {"m": -float("inf")}},
    {"metrics": {"m": "1"}},
    {"at": "yesterday"},
    {"at": "2026-99-99T99:99:99Z"},
    {"at": "2026-01-01T00:00:00"},
    {"at": 3},
]
"""Texts, and changes to a good evaluation, of which each makes it none of this package's."""


def test_a_tag_that_holds_no_evaluation_of_this_package_counts_for_nothing(logged: Any) -> None:
    """Anybody may write tags: what is no evaluation, or another package's, breaks nothing."""
    digest = logged.client.get_model_version("base", "1").tags["pairlock.package_digest"]
    good = {
        "dataset": {"name": "d", "digest": "e"},
        "metrics": {"m": 1},
        "at": "2026-01-01T00:00:00+00:00",
        "package_digest": digest,
    }
    for index, item in enumerate([good, *STRANGE]):
        text = item if isinstance(item, str) else json.dumps({**good, **item})
        logged.client.set_model_version_tag("base", "1", f"{EVALUATION_TAG}{index:02}", text)
    (found,) = recorded("models:/base/1")
    assert (found.metric, found.source) == ("m", f"tag {EVALUATION_TAG}00")
    assert found.at_ms == 1_767_225_600_000


def test_a_remembered_answer_has_nothing_recorded() -> None:
    """Offline the registry is not asked, and what is no version has nothing."""
    located = Located(requested="r", uri="models:/base/1", location="/nowhere")
    assert recorded_metrics(located) == ()
    remembered = Located(
        requested="r", uri="r", location="/nowhere", name="base", version=1, remembered_at=1.0
    )
    assert recorded_metrics(remembered) == ()


def test_asking_for_metrics_makes_no_registry(tmp_path: Path) -> None:
    """Where there is no registry, reading and logging say so, and leave nothing behind."""
    database = tmp_path / "mlflow.db"
    facts = {"dataset_name": "d", "dataset_digest": "e", "dataset_source": "f", "at_ms": 1}
    with active(f"sqlite:///{database}"):
        for ask in (
            lambda: read_model_metrics("base", 1),
            lambda: log_model_metrics("base", 1, {"m": 1.0}, **facts),
        ):
            with pytest.raises(UnavailableError) as caught:
                ask()
            assert caught.value.kind is ErrorKind.REGISTRY_UNAVAILABLE
    assert not database.exists()


def test_a_wrong_dataset_lists_all_its_problems(tmp_path: Path) -> None:
    """Every problem is in the answer, before the registry is asked or a model is loaded."""
    folder = write_beir(tmp_path / "set")
    with (folder / "qrels" / "test.tsv").open("a") as stream:
        stream.write("nobody\td1\t1\nq1\tnothing\t1\n")
    status, data = evaluated("models:/nowhere/1", folder)
    assert (status, data["error"]["kind"]) == (2, "dataset-invalid")
    assert len(data["error"]["findings"]) == 2
    found = run("evaluate", "models:/nowhere/1", "--dataset", str(folder))
    assert found.exit_code == 2
    assert "nobody" in found.stderr
    assert "nothing" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "kind"),
    [
        (["--k", "0"], 2, "argument-invalid"),
        (["--k", "10", "--k", "1000000"], 2, "argument-invalid"),
        (["--split", "../x"], 2, "argument-invalid"),
        (["--device", "abacus"], 2, "argument-invalid"),
    ],
)
def test_a_mistake_has_its_exit_status(
    shared_registry: Any, packaged: Any, dataset: Path, arguments: list[str], status: int, kind: str
) -> None:
    """What cannot be measured is an error document with its kind, and nothing is stored."""
    uri = packaged("tiny_model")
    found = run("evaluate", uri, "--dataset", str(dataset), *arguments, "--format", "json")
    assert found.exit_code == status, found.output
    assert json.loads(found.stdout)["error"]["kind"] == kind
    assert tags_of(shared_registry, "tiny_model") == {}


def test_a_person_reads_the_figures_and_where_they_are(logged: Any, dataset: Path) -> None:
    """The table names the dataset, the similarity, every metric, the tag and the run."""
    found = run(
        "evaluate", "models:/base/1", "--dataset", str(dataset), "--device", "cpu", "--k", "2"
    )
    assert found.exit_code == 0, found.output
    names = [line.split("  ")[0] for line in found.stdout.splitlines()]
    assert names == [
        "uri", "package digest", "dataset", "texts", "similarity", "device", "accuracy@2",
        "precision@2", "recall@2", "ndcg@2", "mrr@2", "map@100", "stored as",
    ]  # fmt: skip
    assert EVALUATION_TAG in found.stdout
    assert "metrics of run" in found.stdout


def test_python_gets_the_same_figures(logged: Any, dataset: Path) -> None:
    """`pairlock.evaluate` returns what the command prints, and refuses what it refuses."""
    found = pairlock.evaluate("models:/base/1", dataset, k=[2, 1, 2], device="cpu")
    assert {"ndcg@1", "ndcg@2"} < set(found.metrics)
    assert json.loads(json.dumps(found.to_dict()))["run_id"] == found.run_id
    for k in ([], [0], [True], [1.0]):
        with pytest.raises(InvalidInputError) as caught:
            pairlock.evaluate("models:/base/1", dataset, k=k)  # type: ignore[arg-type]
        assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
