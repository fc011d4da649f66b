"""What trainers made is packaged as it is, and linked to its training as MLflow does it.

Every trainer is really run, for an epoch of eight pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from llama_index.embeddings.adapter.utils import LinearLayer, TwoLayerNN
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from sentence_transformers import SentenceTransformer

import pairlock
import pairlock_flavors.embedding as flavor
from pairlock import ErrorKind, IntegrityError, InvalidInputError, StorageError, UnsupportedError
from pairlock_flavors.training.data import batches_of, rows_digest
from pairlock_flavors.training.record import results_of
from pairlock_flavors.training.trainers import unwrap
from support.finetuning import (
    PAIRS,
    GatedAdapter,
    adapter_engine,
    evaluator,
    questions,
    sentence_engine,
    table,
    trainer,
)
from support.models import TEXTS
from support.registries import active
from support.remote import shared_server
from support.vectors import one_minus_cosine, same_norms

BAR = 1e-8
FEW = TEXTS[:3]
"""For real weights, which the golden texts test in full."""
ROWS = [{"anchor": query, "positive": passage} for query, passage in PAIRS]
TABLE_DIGEST = hashlib.sha256(
    b"".join(
        json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n" for row in ROWS
    )
).hexdigest()
QUESTIONS_DIGEST = hashlib.sha256(
    json.dumps(
        {key: getattr(questions(), key) for key in ("queries", "corpus", "relevant_docs")},
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
).hexdigest()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentence-Transformers' `fit` makes a folder for checkpoints where it is called."""
    monkeypatch.chdir(tmp_path)


def same_as_model(uri: str, model: SentenceTransformer, texts: list[str] = TEXTS) -> None:
    """A package gives what a model encodes, in both roles."""
    own = pairlock.load(uri, golden=True)
    for mine, theirs in (
        ([own.get_query_embedding(text) for text in texts], model.encode_query(texts)),
        (own.get_text_embedding_batch(texts), model.encode_document(texts)),
    ):
        assert one_minus_cosine(mine, theirs) <= BAR
        assert same_norms(mine, theirs)


def same_as_embedding(uri: str, embedding: Any, texts: list[str] = TEXTS) -> None:
    """A package gives what LlamaIndex's embedding gives, in both roles."""
    own = pairlock.load(uri, golden=True)
    for role in ("query", "text"):
        mine = [getattr(own, f"get_{role}_embedding")(text) for text in texts]
        theirs = [getattr(embedding, f"get_{role}_embedding")(text) for text in texts]
        assert one_minus_cosine(mine, theirs) <= BAR
        assert same_norms(mine, theirs)


def model_metrics(client: Any, logged: Any) -> dict[str, Any]:
    """The metrics of a logged model, by name; each is there once."""
    found = client.get_logged_model(logged.model_info.model_id).metrics or []
    assert len({metric.key for metric in found}) == len(found)
    return {metric.key: metric for metric in found}


def inputs(client: Any, run_id: str) -> dict[str, Any]:
    """The datasets of a run by name, with their tags."""
    return {
        one.dataset.name: (one.dataset, {tag.key: tag.value for tag in one.tags})
        for one in client.get_run(run_id).inputs.dataset_inputs
    }


def history(client: Any, run_id: str) -> list[tuple[str, int, float]]:
    """Every value of every metric of a run."""
    return [
        (metric.key, metric.step, metric.value)
        for name in client.get_run(run_id).data.metrics
        for metric in client.get_metric_history(run_id, name)
    ]


def linked(client: Any, logged: Any, *, status: str = "FINISHED") -> Any:
    """Run, logged model and version name each other; returns the run."""
    run = client.get_run(logged.run_id)
    model = client.get_logged_model(logged.model_info.model_id)
    assert run.info.status == status
    assert [one.model_id for one in run.outputs.model_outputs] == [model.model_id]
    assert model.source_run_id == logged.run_id
    name, version = logged.uri.removeprefix("models:/").split("/")
    assert client.get_model_version(name, version).run_id == logged.run_id
    return run


# real weights


@pytest.fixture(scope="module")
def short_minilm(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM's weights with texts cut at 32 tokens, which makes its golden texts short."""
    folder = tmp_path_factory.mktemp("short") / "minilm"
    model = SentenceTransformer(str(minilm), device="cpu")
    model.max_seq_length = 32
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="module")
def base(short_minilm: Path, shelf: Any) -> str:
    """The URI of `short_minilm` in the shared registry."""
    with active(shelf.uri):
        return shelf.log(short_minilm, "short-minilm")


def test_a_sentence_transformers_engine_is_packaged_byte_for_byte(
    short_minilm: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """The folder that the engine saved is packaged with its bytes kept, and linked to a run."""
    engine = sentence_engine(short_minilm, tmp_path / "out")
    engine.finetune()
    logged = pairlock.log_model(engine, registered_model_name="sentence-engine")
    assert logged.warnings == ()
    saved = shared_registry.folder_of(logged.uri) / "payload/model"
    for name in ("model.safetensors", "tokenizer.json", "modules.json"):
        assert (saved / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    same_as_model(logged.uri, engine.model, FEW)
    run = linked(shared_registry.client, logged)
    assert run.info.run_name == "sentence-engine"
    wanted = {"epochs": "1", "batch_size": "4", "learning_rate": "2e-05"}
    wanted |= {"loss": "MultipleNegativesRankingLoss", "base_model": str(short_minilm)}
    model = shared_registry.client.get_logged_model(logged.model_info.model_id)
    assert run.data.params.items() >= wanted.items()
    assert model.params.items() >= wanted.items()
    dataset, tags = inputs(shared_registry.client, logged.run_id)["train"]
    assert dataset.digest == QUESTIONS_DIGEST[:32]
    assert tags["pairlock.digest"] == f"sha256:{QUESTIONS_DIGEST}"
    assert tags["mlflow.data.context"] == "training"
    assert json.loads(dataset.profile)["num_rows"] == len(PAIRS)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("linear", lambda: LinearLayer(384, 384, bias=True)),
        ("two_layer", lambda: TwoLayerNN(384, 128, 384, bias=True, add_residual=True)),
        ("custom", lambda: GatedAdapter(384)),
    ],
    ids=["linear", "two-layer", "custom"],
)
def test_an_adapter_engine_is_packaged_as_it_embeds(
    kind: str,
    make: Callable[[], Any],
    base: str,
    shared_registry: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The adapter keeps the class it has in memory, on the base that the engine embedded with."""
    monkeypatch.setenv("PAIRLOCK_ALLOW_CLASSES", "support.finetuning:GatedAdapter")
    torch.manual_seed(3)
    engine = adapter_engine(pairlock.load(base), tmp_path / "out", adapter_model=make())
    engine.finetune()
    logged = pairlock.log_model(engine, registered_model_name=f"engine-{kind}")
    assert logged.kind == kind
    assert logged.base_uri == base
    assert logged.warnings == ()
    live = engine.get_finetuned_model(adapter_cls=type(engine.model))
    same_as_embedding(logged.uri, live, FEW)
    run = linked(shared_registry.client, logged)
    wanted = {"epochs": "2", "batch_size": "4", "learning_rate": "0.005", "base_model": base}
    wanted |= {"adapter": type(engine.model).__name__, "loss": "MultipleNegativesRankingLoss"}
    assert run.data.params.items() >= wanted.items()
    dataset, _ = inputs(shared_registry.client, logged.run_id)["train"]
    assert dataset.digest == QUESTIONS_DIGEST[:32]


def test_a_trainer_is_packaged_as_its_model_encodes(
    short_minilm: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """A trainer's model is packaged, its metrics linked to the data they were measured on."""
    made = trainer(
        short_minilm, tmp_path / "out", eval_dataset=table(PAIRS[:4]), evaluator=evaluator("help")
    )
    made.train()
    measured = made.evaluate()
    logged = pairlock.log_model(made, registered_model_name="trainer")
    assert logged.warnings == ()
    same_as_model(logged.uri, made.model, FEW)
    client = shared_registry.client
    linked(client, logged)
    datasets, metrics = inputs(client, logged.run_id), model_metrics(client, logged)
    assert datasets["train"][0].digest == TABLE_DIGEST[:32]
    assert datasets["eval"][1]["mlflow.data.context"] == "evaluation"
    for name, on in (
        ("train_loss", "train"),
        ("eval_loss", "eval"),
        ("eval_help_cosine_ndcg_10", "help"),
    ):
        assert metrics[name].step == 2
        assert metrics[name].run_id == logged.run_id
        assert metrics[name].dataset_name == on
        assert metrics[name].dataset_digest == datasets[on][0].digest
    assert metrics["eval_loss"].value == pytest.approx(measured["eval_loss"])
    assert "learning_rate" not in metrics
    model = client.get_logged_model(logged.model_info.model_id)
    assert model.params.items() >= {"learning_rate": "5e-05", "num_train_epochs": "1"}.items()
    assert model.params["loss"] == "MultipleNegativesRankingLoss"
    assert [step for name, step, _ in history(client, logged.run_id) if name == "loss"] == [1, 2]
    found = client.search_logged_models(
        ["0"], datasets=[{"dataset_name": "help", "dataset_digest": datasets["help"][0].digest}]
    )
    assert [one.model_id for one in found] == [logged.model_info.model_id]


def lora() -> Any:
    """A LoRA whose first vectors already differ from the base's."""
    from peft import LoraConfig

    return LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], init_lora_weights=False)


def test_a_trainer_of_a_peft_adapter_is_packaged_as_its_model_encodes(
    short_minilm: Path, base: str, shared_registry: Any, tmp_path: Path
) -> None:
    """A trainer whose model carries a PEFT adapter gives a package of the adapter on its base."""
    torch.manual_seed(4)
    model = SentenceTransformer(str(short_minilm), device="cpu")
    model.add_adapter(lora())
    made = trainer(model, tmp_path / "out", learning_rate=1e-3)
    made.train()
    logged = pairlock.log_model(made, base=base, registered_model_name="trainer-peft")
    assert (logged.kind, logged.base_uri) == ("peft", base)
    same_as_model(logged.uri, model, FEW)
    linked(shared_registry.client, logged)
    assert "train_loss" in model_metrics(shared_registry.client, logged)


def test_a_peft_model_is_packaged_as_it_computes(
    short_minilm: Path, base: str, shared_registry: Any
) -> None:
    """A `PeftModel` over the base's encoder is packaged with the base's pooling and no run."""
    from peft import get_peft_model
    from transformers import AutoModel

    torch.manual_seed(5)
    tuned = get_peft_model(AutoModel.from_pretrained(short_minilm), lora()).eval()
    logged = pairlock.log_model(tuned, base=base, registered_model_name="peft-model")
    assert (logged.kind, logged.base_uri, logged.run_id) == ("peft", base, None)
    whole = SentenceTransformer(str(short_minilm), device="cpu")
    whole[0].model = tuned
    same_as_model(logged.uri, whole, FEW)


# the run


@pytest.fixture
def trained(tiny_model: Path, tmp_path: Path) -> Any:
    """A trainer of a tiny model that has trained."""
    made = trainer(tiny_model, tmp_path / "out", eval_dataset=table(), eval_strategy="epoch")
    made.train()
    return made


def test_an_active_run_is_the_run_of_the_training(trained: Any, registry: Any) -> None:
    """The active run gets the training, and goes on."""
    with mlflow.start_run() as run:
        logged = pairlock.log_model(trained, registered_model_name="m")
        assert mlflow.active_run().info.run_id == run.info.run_id
        assert logged.run_id == run.info.run_id
        linked(registry.client, logged, status="RUNNING")
    assert "eval_loss" in model_metrics(registry.client, logged)
    assert len(registry.client.search_runs(["0"])) == 1


def test_a_run_that_is_named_is_the_run_of_the_training(trained: Any, registry: Any) -> None:
    """A run given by its id gets the training, whatever run is active, and keeps its status."""
    run_id = registry.client.create_run("0").info.run_id
    with mlflow.start_run():
        logged = pairlock.log_model(trained, registered_model_name="m", run_id=run_id)
    assert logged.run_id == run_id
    linked(registry.client, logged, status="RUNNING")
    assert "eval_loss" in model_metrics(registry.client, logged)


@pytest.mark.parametrize("in_a_run", [True, False], ids=["active-run", "own-run"])
def test_what_the_trainer_told_mlflow_itself_is_not_logged_twice(
    in_a_run: bool, tiny_model: Path, registry: Any, tmp_path: Path
) -> None:
    """A trainer that reports to MLflow keeps its run and its values; only links are added."""
    made = trainer(
        tiny_model,
        tmp_path / "out",
        report_to=["mlflow"],
        eval_dataset=table(),
        eval_strategy="steps",
        eval_steps=1,
    )
    if in_a_run:
        mlflow.start_run()
    try:
        made.train()
        mlflow.flush_async_logging()
        (run,) = registry.client.search_runs(["0"])
        before = history(registry.client, run.info.run_id)
        logged = pairlock.log_model(made, registered_model_name="m")
    finally:
        mlflow.end_run()
    assert logged.run_id == run.info.run_id
    assert len(registry.client.search_runs(["0"])) == 1
    assert sorted(history(registry.client, run.info.run_id)) == sorted(before)
    linked(registry.client, logged)
    metrics = model_metrics(registry.client, logged)
    assert (metrics["eval_loss"].step, metrics["eval_loss"].dataset_name) == (2, "eval")
    assert logged.warnings == ()


def test_another_run_than_the_trainers_is_not_taken_for_it(
    tiny_model: Path, registry: Any, tmp_path: Path
) -> None:
    """A trainer's run that was followed by another one is not guessed."""
    made = trainer(tiny_model, tmp_path / "out", report_to=["mlflow"])
    made.train()
    with mlflow.start_run() as other:
        mlflow.log_metric("train_loss", 1.0)
    logged = pairlock.log_model(made, registered_model_name="m")
    assert logged.run_id != other.info.run_id
    assert len(registry.client.search_runs(["0"])) == 3
    linked(registry.client, logged)


def test_a_model_without_a_training_starts_no_run(tiny_model: Path, registry: Any) -> None:
    """A folder has no run, unless one is active, whose metrics it gets by MLflow's own rule."""
    assert pairlock.log_model(tiny_model, registered_model_name="m").run_id is None
    assert registry.client.search_runs(["0"]) == []
    with mlflow.start_run() as run:
        logged = pairlock.log_model(tiny_model, registered_model_name="m")
    assert logged.run_id == run.info.run_id
    linked(registry.client, logged)


def test_two_trainings_in_one_run_are_told_apart(
    tiny_model: Path, registry: Any, tmp_path: Path
) -> None:
    """A parameter that the run has otherwise is warned of, and metrics stay each model's."""
    logged = []
    with mlflow.start_run():
        for rate in (1e-5, 1e-3):
            made = trainer(tiny_model, tmp_path / f"{rate}", learning_rate=rate)
            made.train()
            logged.append(pairlock.log_model(made, registered_model_name="m"))
    assert logged[0].warnings == ()
    assert any("learning_rate" in warning for warning in logged[1].warnings)
    losses = [model_metrics(registry.client, one)["train_loss"].value for one in logged]
    assert losses[0] != losses[1]


def test_a_real_server_is_told_the_same(trained: Any, registry_template: Path) -> None:
    """Through MLflow's own server, run, metrics, parameters and dataset are linked as on a file."""
    server = shared_server(registry_template)
    with active(server.uri):
        logged = pairlock.log_model(trained, registered_model_name="from-a-trainer")
        client = mlflow.MlflowClient()
        linked(client, logged)
        assert logged.warnings == ()
        metrics = model_metrics(client, logged)
        dataset, tags = inputs(client, logged.run_id)["eval"]
        assert dataset.digest == TABLE_DIGEST[:32]
        assert tags["pairlock.digest"] == f"sha256:{TABLE_DIGEST}"
        assert metrics["eval_loss"].dataset_digest == dataset.digest
        model = client.get_logged_model(logged.model_info.model_id)
        assert model.params["learning_rate"] == "5e-05"


def test_what_mlflow_does_not_take_is_a_warning(
    tiny_model: Path, registry: Any, tmp_path: Path
) -> None:
    """A link that MLflow refuses leaves a whole, registered package and says so."""
    made = trainer(
        tiny_model,
        tmp_path / "out",
        evaluator=evaluator("long" * 100, write_csv=False),
        eval_strategy="epoch",
    )
    made.train()
    logged = pairlock.log_model(made, registered_model_name="m")
    assert any("metrics" in warning for warning in logged.warnings)
    same_as_model(logged.uri, made.model)
    linked(registry.client, logged)


def test_a_packaging_that_fails_leaves_no_run(
    tiny_model: Path, registry: Any, tmp_path: Path
) -> None:
    """The run is made when the package is proved: an adapter without a named base leaves none."""
    base = HuggingFaceEmbedding(str(tiny_model), device="cpu")
    engine = adapter_engine(base, tmp_path / "out")
    engine.finetune()
    with pytest.raises(InvalidInputError) as caught:
        pairlock.log_model(engine, registered_model_name="m")
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    assert registry.client.search_runs(["0"]) == []
    logged = pairlock.log_model(engine, base=str(tiny_model), registered_model_name="m")
    same_as_embedding(logged.uri, engine.get_finetuned_model())


def test_a_storing_that_fails_leaves_a_failed_run(trained: Any, registry: Any) -> None:
    """When MLflow cannot store the package, the run is marked as failed and there is no version."""
    location = Path(registry.client.get_experiment("0").artifact_location.removeprefix("file://"))
    location.parent.mkdir(parents=True, exist_ok=True)
    location.write_text("a file where the folder should be")
    with pytest.raises(StorageError) as caught:
        pairlock.log_model(trained, registered_model_name="m")
    assert caught.value.kind is ErrorKind.STORAGE_FAILED
    assert [run.info.status for run in registry.client.search_runs(["0"])] == ["FAILED"]
    assert registry.versions("m") == []


# what is recorded


def test_metrics_are_those_of_the_model_that_was_kept(
    tiny_model: Path, registry: Any, tmp_path: Path
) -> None:
    """With load_best_model_at_end, the evaluation of the best step is the model's, not the last."""
    made = trainer(
        tiny_model,
        tmp_path / "out",
        eval_dataset=table(),
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=True,
        num_train_epochs=2,
        learning_rate=1e-3,
    )
    made.train()
    losses = {e["step"]: e["eval_loss"] for e in made.state.log_history if "eval_loss" in e}
    best = max(losses, key=losses.__getitem__)
    assert best != made.state.global_step
    logged = pairlock.log_model(made, registered_model_name="m")
    metric = model_metrics(registry.client, logged)["eval_loss"]
    assert (metric.step, metric.value) == (best, losses[best])
    (output,) = registry.client.get_run(logged.run_id).outputs.model_outputs
    assert output.step == best
    assert made.evaluate()["eval_loss"] == pytest.approx(metric.value, abs=1e-5)
    same_as_model(logged.uri, made.model)


def test_an_engine_with_an_evaluator_is_measured_where_it_was_saved(
    short_minilm: Path, registry: Any, tmp_path: Path
) -> None:
    """The engine saves the best model; its metrics are those of that evaluation."""
    engine = sentence_engine(
        short_minilm, tmp_path / "out", val_dataset=questions(), evaluation_steps=1
    )
    engine.finetune()
    measured = [entry["cosine_ndcg@10"] for entry in engine.model.model_card_data.training_logs]
    assert len(set(measured)) > 1
    logged = pairlock.log_model(engine, registered_model_name="m")
    metric = model_metrics(registry.client, logged)["eval_cosine_ndcg_10"]
    assert metric.dataset_name == "eval"
    assert metric.dataset_digest == QUESTIONS_DIGEST[:32]
    saved = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert metric.value == pytest.approx(evaluator()(saved)["cosine_ndcg@10"], abs=1e-6)
    same_as_model(logged.uri, saved, FEW)


def test_every_dataset_of_a_trainer_is_recorded_by_its_content(
    tiny_model: Path, registry: Any, tmp_path: Path
) -> None:
    """Datasets by name are told apart, and each evaluation lies on its own."""
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(str(tiny_model), device="cpu")
    made = trainer(
        model,
        tmp_path / "out",
        train_dataset={"one": table(PAIRS[:4]), "two": table(PAIRS[4:])},
        eval_dataset={"one": table(PAIRS[:2]), "two": table(PAIRS[2:])},
        # a loss for each makes the trainer add a column to every row that is read
        loss={name: MultipleNegativesRankingLoss(model) for name in ("one", "two")},
        eval_strategy="epoch",
    )
    made.train()
    logged = pairlock.log_model(made, registered_model_name="m")
    datasets = inputs(registry.client, logged.run_id)
    assert set(datasets) == {"train-one", "train-two", "eval-one", "eval-two"}
    assert datasets["train-one"][1]["pairlock.digest"] == rows_digest(batches_of(table(PAIRS[:4])))
    metrics = model_metrics(registry.client, logged)
    assert metrics["eval_one_loss"].dataset_name == "eval-one"
    assert metrics["eval_two_loss"].dataset_name == "eval-two"
    assert metrics["train_loss"].dataset_name is None


def test_a_stream_is_not_recorded_and_said_so(
    tiny_model: Path, registry: Any, tmp_path: Path
) -> None:
    """A dataset without a length has no digest; that is a warning."""
    made = trainer(
        tiny_model, tmp_path / "out", train_dataset=table().to_iterable_dataset(), max_steps=2
    )
    made.train()
    logged = pairlock.log_model(made, registered_model_name="m")
    assert any("training dataset" in warning for warning in logged.warnings)
    assert registry.client.get_run(logged.run_id).inputs.dataset_inputs == []


def test_a_datasets_digest_is_of_its_rows() -> None:
    """The digest sees every value and the order of rows, and no format, transform or chunk."""
    whole = table()
    plain = rows_digest(batches_of(whole))
    assert plain == f"sha256:{TABLE_DIGEST}"
    assert rows_digest(batches_of(table(PAIRS[::-1]))) != plain
    assert rows_digest(batches_of(table([*PAIRS[:-1], (PAIRS[-1][0], "x")]))) != plain
    changed = table()
    changed.set_transform(lambda batch: {"anchor": [text.upper() for text in batch["anchor"]]})
    assert rows_digest(batches_of(changed)) == plain
    assert changed[0] == {"anchor": PAIRS[0][0].upper()}
    assert (
        rows_digest([{"anchor": [row["anchor"]], "positive": [row["positive"]]} for row in ROWS])
        == plain
    )


@pytest.mark.parametrize(
    ("best_step", "expected"),
    [(None, {"eval_loss": 0.3, "train_loss": 0.5}), (1, {"eval_loss": 0.1, "train_loss": 0.5})],
)
@pytest.mark.parametrize("later", [False, True])
def test_results_are_of_the_weights_that_stayed(
    later: bool, best_step: int | None, expected: dict[str, float]
) -> None:
    """The last evaluation counts, or that of the best step; one after the training always."""
    log = [
        {"loss": 0.9, "learning_rate": 1e-5, "epoch": 0.5, "step": 1},
        {"eval_loss": 0.1, "epoch": 0.5, "step": 1},
        {"eval_loss": 0.3, "epoch": 1.0, "step": 2},
        {"train_runtime": 3.0, "train_loss": 0.5, "total_flos": 0.0, "epoch": 1.0, "step": 2},
    ]
    if later:
        log.append({"eval_loss": 0.2, "epoch": 1.0, "step": 2})
        expected = expected | {"eval_loss": 0.2}
    found = {point.name: point.value for point in results_of(log, best_step=best_step)}
    assert found == {**expected, "train_runtime": 3.0}


# what is refused, and what is left alone


@pytest.mark.parametrize("kind", ["sentence", "adapter", "trainer"])
def test_a_training_that_was_not_run_is_refused(
    kind: str, tiny_model: Path, registry: Any, tmp_path: Path
) -> None:
    """A trainer without output is refused, also if its output folder holds an earlier training."""
    base = HuggingFaceEmbedding(str(tiny_model), device="cpu")
    make = {
        "sentence": partial(sentence_engine, tiny_model),
        "adapter": partial(adapter_engine, base),
        "trainer": partial(trainer, tiny_model),
    }[kind]
    for _ in range(2):
        made = make(tmp_path / "out")
        with pytest.raises(InvalidInputError) as caught:
            pairlock.log_model(
                made, base=str(tiny_model) if kind == "adapter" else None, registered_model_name="m"
            )
        assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
        (made.train if kind == "trainer" else made.finetune)()
    assert registry.client.search_runs(["0"]) == []
    assert registry.versions("m") == []


def test_an_output_that_another_training_replaced_is_refused(
    tiny_model: Path, tiny_other: Path, registry: Any, tmp_path: Path
) -> None:
    """Two engines with one output folder: the first is not logged with the other's bytes."""
    engines = [sentence_engine(model, tmp_path / "out") for model in (tiny_model, tiny_other)]
    for engine in engines:
        engine.finetune()
    with pytest.raises(IntegrityError) as caught:
        pairlock.log_model(engines[0], registered_model_name="m")
    assert caught.value.kind is ErrorKind.GOLDEN
    base = HuggingFaceEmbedding(str(tiny_model), device="cpu")
    engines = [adapter_engine(base, tmp_path / "adapter", epochs=n) for n in (1, 2)]
    for engine in engines:
        engine.finetune()
    with pytest.raises(InvalidInputError) as refused:
        pairlock.log_model(engines[0], base=str(tiny_model), registered_model_name="m")
    assert refused.value.kind is ErrorKind.ARGUMENT_INVALID
    assert registry.versions("m") == []


def test_an_engine_for_another_model_is_refused(registry: Any) -> None:
    """An engine that makes no embedding model is understood, and not packaged."""

    class Engine:
        model = torch.nn.Linear(2, 2)

        def finetune(self) -> None:
            """Train."""

        def get_finetuned_model(self) -> None:
            """What it makes is no embedding."""

    with pytest.raises(UnsupportedError) as caught:
        pairlock.log_model(Engine(), registered_model_name="m")
    assert caught.value.kind is ErrorKind.KIND_UNSUPPORTED


def test_what_is_no_trainer_is_left_as_it_is(tiny_model: Path) -> None:
    """Folders, models and classes are not unwrapped."""
    model = SentenceTransformer(str(tiny_model), device="cpu")
    for thing in (tiny_model, str(tiny_model), model, SentenceTransformer, None):
        found = unwrap(thing)
        assert found.model is thing
        assert found.record is None


@pytest.fixture
def frozen(tiny_model: Path) -> SentenceTransformer:
    """A model with parts in different modes, frozen weights and gradient checkpointing."""
    model = SentenceTransformer(str(tiny_model), device="cpu")
    model[0].auto_model.gradient_checkpointing_enable()
    model[0].auto_model.embeddings.requires_grad_(False)
    return model


def state(model: torch.nn.Module) -> dict[str, Any]:
    """Everything about a model that packaging might change."""
    return {
        "modes": {name: part.training for name, part in model.named_modules()},
        "checkpointing": {
            name: getattr(part, "gradient_checkpointing", None)
            for name, part in model.named_modules()
        },
        "weights": {
            name: (tensor.requires_grad, tensor.device, tensor.dtype, tensor.detach().sum().item())
            for name, tensor in model.named_parameters()
        },
        "forward": model.forward,
    }


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "bfloat16"])
def test_packaging_changes_nothing_about_a_trainers_model(
    mixed: bool, frozen: SentenceTransformer, registry: Any, tmp_path: Path
) -> None:
    """Modes of parts, frozen weights, checkpointing and autocast stay as the trainer left them."""
    made = trainer(frozen, tmp_path / "out", bf16=mixed)
    made.train()
    frozen.train()
    frozen[0].auto_model.embeddings.eval()
    before = state(made.model)
    logged = pairlock.log_model(made, registered_model_name="m")
    assert state(made.model) == before
    assert made.model is frozen
    fresh = SentenceTransformer(str(registry.folder_of(logged.uri) / "payload/model"), device="cpu")
    same_as_model(logged.uri, fresh)


@pytest.mark.parametrize("training", [True, False])
def test_packaging_changes_nothing_about_an_engines_adapter(
    training: bool, tiny_model: Path, registry: Any, tmp_path: Path
) -> None:
    """An engine's adapter keeps its mode, place and weights."""
    engine = adapter_engine(HuggingFaceEmbedding(str(tiny_model), device="cpu"), tmp_path / "out")
    engine.finetune()
    engine.model.train(training)
    before = state(engine.model)
    pairlock.log_model(engine, base=str(tiny_model), registered_model_name="m")
    assert state(engine.model) == before


def test_a_trainer_may_be_saved_without_a_registry(trained: Any, tmp_path: Path) -> None:
    """`save_model` takes a trainer too, and writes a package of its model."""
    flavor.save_model(trained, tmp_path / "package")
    same_as_model(str(tmp_path / "package"), trained.model)


@pytest.fixture(autouse=True)
def _no_run_is_left() -> Iterator[None]:
    """No test leaves a run active for the next."""
    yield
    assert mlflow.active_run() is None
