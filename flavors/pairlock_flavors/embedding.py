"""The MLflow flavor: `save_model`, `log_model`, `load_model`, and MLflow's own entry points.

import pairlock_flavors.embedding as flavor

flavor.log_model("out/full", name="minilm", registered_model_name="minilm")
flavor.log_model("out/adapter", name="support", base="models:/minilm/1",
                 registered_model_name="support")
flavor.load_model("models:/support/1")
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow.models import Model
from mlflow.models.model import ModelInfo

from pairlock.api import load
from pairlock.catalog import client, describe, ensure_registry, fix_ledger_place, local_path
from pairlock.config import Settings, current_settings, package_runtimes
from pairlock.describing import model_description, version_description
from pairlock.errors import ErrorKind, PairlockError, StorageError
from pairlock.logged import LoggedPackage
from pairlock.manifest import MANIFEST_NAME
from pairlock.manifest.format import PAGE_NAME, PAYLOAD
from pairlock.packages import Package
from pairlock.progress import SILENT, Progress
from pairlock.references import check_model_name
from pairlock.staging import staged
from pairlock.stores.opening import open_store
from pairlock.transfer import upload
from pairlock_flavors import _mlflow
from pairlock_flavors._mlflow import FLAVOR_NAME
from pairlock_flavors.embeddings.package_embedding import PackageEmbedding
from pairlock_flavors.loader import _load_pyfunc
from pairlock_flavors.packaging.build import Built, build_package
from pairlock_flavors.packaging.draft import Options
from pairlock_flavors.packaging.sources import open_source
from pairlock_flavors.torch_runtime.foreign_classes import allowed_classes
from pairlock_flavors.training.link import linked_run
from pairlock_flavors.training.trainers import Trained, unwrap

__all__ = [
    "FLAVOR_NAME",
    "_load_pyfunc",
    "get_default_conda_env",
    "get_default_pip_requirements",
    "load_model",
    "log_model",
    "log_package",
    "save_model",
    "store_copy",
]


def get_default_pip_requirements() -> list[str]:
    """Pinned requirements that MLflow installs to serve a package."""
    return _mlflow.requirements()


def get_default_conda_env() -> dict[str, Any]:
    """The conda environment that MLflow makes to serve a package."""
    return _mlflow.conda_environment()


def save_model(
    model: object,
    path: str | os.PathLike[str],
    mlflow_model: Model | None = None,
    *,
    base: str | None = None,
    query_instruction: str | None = None,
    text_instruction: str | None = None,
    normalize: bool | None = None,
    adapter_class: str | None = None,
    allow: Iterable[str] = (),
    runtimes: Iterable[str] | None = None,
    metadata: dict[str, Any] | None = None,
    **kwargs: Any,  # noqa: ARG001 - MLflow passes on every argument of log
) -> None:
    """Write a package to a local folder.

    Args:
        model: a folder, `SentenceTransformer`, `HuggingFaceEmbedding`, `AdapterEmbeddingModel`, a
            PEFT model, or a trainer with a model in it (see `pairlock.log_model`).
        path: the package's folder; it must not exist, or be empty.
        mlflow_model: MLflow's model being written, when MLflow calls this.
        base: an adapter's base: `models:/name/1`, `hf://org/name@commit` or a folder.
        query_instruction: put before queries; None for what the model says.
        text_instruction: put before documents; None for what the model says.
        normalize: whether to normalise after the model's modules; None for what the model says.
        adapter_class: the class of a LlamaIndex adapter's folder, where it is another package's:
            `package.module:Class`. The package names it and holds none of its code.
        allow: classes of other packages that a model may be made of, as `pairlock.load` takes them.
        runtimes: what the package is made for: `("torch", "onnx")`, or `("torch",)`, which is
            sooner; None for `PAIRLOCK_RUNTIMES`, which is both where it is not set. A model that
            the onnx runtime cannot run is packaged for torch, with a warning.
        metadata: kept in MLflow's `MLmodel`.
        **kwargs: ignored; MLflow passes on whatever `log` was given.

    Raises:
        AlreadyExistsError: the folder is not empty.
        PairlockError: every reason not to package; nothing is left behind.
    """
    target = Path(path).absolute()
    settings = current_settings(allow=allow)
    options = Options(
        base=base,
        query_instruction=query_instruction,
        text_instruction=text_instruction,
        normalize=normalize,
        allowed=allowed_classes(settings),
        runtimes=_runtimes(runtimes, settings),
    )
    with _storage_errors(target.parent), staged(target) as folder:
        if isinstance(model, Built):
            built = model
            payload_is_stored = _store_payload(built, mlflow_model)
            shutil.copytree(
                model.root,
                folder,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns(PAYLOAD) if payload_is_stored else None,
            )
        else:
            built = _build(unwrap(model), folder, options, adapter_class, SILENT)
        _mlflow.write_model_files(
            folder, built.manifest, built.digest, model=mlflow_model, metadata=metadata
        )


def log_model(
    model: object,
    name: str | None = None,
    *,
    registered_model_name: str | None = None,
    **kwargs: Any,
) -> ModelInfo:
    """Package a model and log it, in MLflow's own manner.

    Args:
        model: as `save_model`.
        name: the logged model's name.
        registered_model_name: register a version under this name.
        **kwargs: as `log_package`.

    Returns:
        MLflow's description of the logged model.

    Raises:
        PairlockError: as `log_package`.
    """
    logged = log_package(model, name, registered_model_name=registered_model_name, **kwargs)
    return logged.model_info


def log_package(
    model: object,
    name: str | None = None,
    *,
    registered_model_name: str | None = None,
    base: str | None = None,
    query_instruction: str | None = None,
    text_instruction: str | None = None,
    normalize: bool | None = None,
    adapter_class: str | None = None,
    allow: Iterable[str] = (),
    runtimes: Iterable[str] | None = None,
    metadata: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    progress: Progress = SILENT,
    **kwargs: Any,
) -> LoggedPackage:
    """Package a model, prove the package, then log and register it.

    The package is finished and proved before MLflow hears of it, and a version is registered after
    every byte was stored, with its digest. So a packaging that fails, or is killed, leaves no
    version.

    A trainer's metrics, parameters and datasets are logged in the run that the model belongs to:
    the run given as `run_id`, else the active one, else the run that the trainer reported to itself
    (transformers' MLflowCallback), else a new run with the model's name, which has ended when this
    returns. A model that comes without a trainer starts no run. What cannot be linked is in the
    `warnings` of what is returned: the package itself is whole and registered then.

    Args:
        model: as `save_model`, and so are `base`, `query_instruction`, `text_instruction`,
            `normalize`, `adapter_class`, `allow`, `runtimes` and `metadata`.
        name: the logged model's name; the registered name when left out.
        registered_model_name: register a version under this name.
        base: see `model`.
        query_instruction: see `model`.
        text_instruction: see `model`.
        normalize: see `model`.
        adapter_class: see `model`.
        allow: see `model`.
        runtimes: see `model`.
        metadata: see `model`.
        tags: more tags for the logged model and the version.
        progress: told about the work.
        **kwargs: handed to MLflow's `Model.log`, such as `run_id` or `step`.

    Returns:
        What was logged, in which run, and how to load it.

    Raises:
        PairlockError: every reason not to package or to log.
    """
    if registered_model_name is not None:
        check_model_name(registered_model_name)
    logged_name = re.sub(r"[/:.%\"']", "-", name or registered_model_name or "model")
    settings = current_settings(allow=allow)
    ensure_registry()
    options = Options(
        base=base,
        query_instruction=query_instruction,
        text_instruction=text_instruction,
        normalize=normalize,
        allowed=allowed_classes(settings),
        runtimes=_runtimes(runtimes, settings),
    )
    trained = unwrap(model)
    with TemporaryDirectory(prefix="pairlock-") as folder:
        with _storage_errors(Path(folder)):
            built = _build(trained, Path(folder), options, adapter_class, progress)
        with (
            _storage_errors(Path(folder)),
            linked_run(trained.record, name=logged_name, run_id=kwargs.pop("run_id", None)) as link,
        ):
            if link.step is not None:
                kwargs.setdefault("step", link.step)
            info = _mlflow.log_package(
                _this_module(),
                built,
                name=logged_name,
                registered_model_name=registered_model_name,
                tags={**(tags or {}), **_mlflow.facts(built.manifest, built.digest)},
                metadata=metadata,
                run_id=link.run_id,
                **kwargs,
            )
            link.finish(info.model_id)
    warnings = list(link.warnings)
    if registered_model_name is not None:
        warnings += _with_ledger_place(registered_model_name, settings.ledger)
        warnings += _with_descriptions(registered_model_name, info, built)
    return _logged(built, info, registered_model_name, link.run_id, warnings)


def store_copy(
    package: Package,
    page: bytes | None,
    *,
    name: str,
    tags: dict[str, str],
    progress: Progress = SILENT,
) -> str:
    """Store a proved package as a logged model of the registry in use, byte for byte.

    Payload, manifest and page are those of the package; MLflow's own files, which the digest does
    not cover, are written anew. The manifest is stored after the payload.

    Args:
        package: a proved package.
        page: its `PAIRING.md`; None where it has none.
        name: the logged model's name.
        tags: more tags than those that come from the manifest.
        progress: told about the bytes.

    Returns:
        The logged model's id; it is whole, and not registered.

    Raises:
        StorageError: writing failed.
        UnavailableError: MLflow or its store could not be reached, or refused.
        PairlockError: every other reason; no logged model is left behind.
    """
    manifest, digest = package.manifest, package.digest
    all_tags = {**tags, **_mlflow.facts(manifest, digest)}
    with (
        _mlflow.new_logged_model(re.sub(r"[/:.%\"']", "-", name), all_tags) as model,
        TemporaryDirectory(prefix="pairlock-") as made,
    ):
        folder = Path(made)
        with _storage_errors(folder):
            shutil.copyfile(package.root / MANIFEST_NAME, folder / MANIFEST_NAME)
            if page is not None:
                (folder / PAGE_NAME).write_bytes(page)
            _mlflow.write_model_files(folder, manifest, digest, model=model, metadata=None)
        total = sum(record.size_bytes for record in manifest.files)
        with progress.step("copy", total) as advance:
            store = open_store(local_path(str(model.artifact_path)))
            upload(store, package.root, manifest.files, on_bytes=advance)
            package.proved.check_unchanged()
        with _storage_errors(folder), _mlflow.translated():
            client().log_model_artifacts(model.model_id, str(folder))
    return str(model.model_id)


def load_model(model_uri: str, **options: Any) -> PackageEmbedding:
    """Load a package as a LlamaIndex embedding.

    Args:
        model_uri: as `pairlock.load`.
        **options: as `pairlock.load`.

    Raises:
        PairlockError: every reason not to load.
    """
    found = load(model_uri, **options)
    assert isinstance(found, PackageEmbedding)
    return found


def _runtimes(wished: Iterable[str] | None, settings: Settings) -> tuple[str, ...]:
    if wished is None:
        return settings.runtimes
    return package_runtimes(wished, "the argument runtimes")


def _build(
    trained: Trained, folder: Path, options: Options, adapter_class: str | None, progress: Progress
) -> Built:
    opened = open_source(
        trained.model, adapter_class=adapter_class, allowed=options.allowed, live=trained.live
    )
    with opened as source:
        return build_package(source, folder, options, progress=progress)


def _store_payload(built: Built, mlflow_model: Model | None) -> bool:
    """Store the payload of a package that MLflow is logging, in parallel, where Pairlock can.

    MLflow stores files one at a time. It is left the small ones, the manifest among them, which
    it stores after this returns: so a package with a manifest has all of its payload.
    """
    location = _mlflow.remote_location(mlflow_model)
    if location is None:
        return False
    records = built.manifest.files
    with built.progress.step("store", sum(record.size_bytes for record in records)) as advance:
        upload(open_store(location), built.root, records, on_bytes=advance)
    return True


def _logged(
    built: Built,
    info: ModelInfo,
    registered_model_name: str | None,
    run_id: str | None,
    more_warnings: list[str],
) -> LoggedPackage:
    uri = f"models:/{info.model_id}"
    if registered_model_name is not None:
        uri = f"models:/{registered_model_name}/{info.registered_model_version}"
    manifest = built.manifest
    pin = manifest.base
    return LoggedPackage(
        uri=uri,
        package_digest=built.digest,
        kind=manifest.kind.value,
        base_uri=None if pin is None else pin.uri,
        base_digest=None if pin is None else pin.package_digest or pin.tree_digest,
        query_instruction=manifest.encode.query_instruction,
        text_instruction=manifest.encode.text_instruction,
        left_out=tuple(item.path for item in manifest.provenance.left_out),
        warnings=(*built.warnings, *more_warnings),
        run_id=run_id,
        model_info=info,
    )


def _with_ledger_place(name: str, root: str | None) -> list[str]:
    """Record where the model's ledger will lie; a warning when that failed, for all is registered.

    Where no ledger can lie beside the packages nobody is bothered until somebody promotes.
    """
    try:
        fix_ledger_place(name, root=root)
    except PairlockError as error:
        if error.kind is ErrorKind.LEDGER_PLACE:
            return []
        return [
            f"the place of the ledger of {name} is not recorded yet, which the next version or "
            f"promotion makes up for: {error.summary}"
        ]
    return []


def _with_descriptions(name: str, info: ModelInfo, built: Built) -> list[str]:
    """Say on MLflow's pages what was registered; a warning when that failed."""
    version = int(info.registered_model_version or 0)
    problem = describe(
        name,
        version,
        of_version=version_description(name, version, built.manifest, built.digest),
        of_model=model_description(name),
    )
    if not problem:
        return []
    return [f"{name} {version} has no description on MLflow's pages: {problem}"]


def _this_module() -> Any:
    import pairlock_flavors.embedding

    return pairlock_flavors.embedding


@contextmanager
def _storage_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError.of(
            error,
            "writing the package failed",
            checked=str(error.filename or where),
            done="nothing was registered, and what was written is removed",
            hint="check free space and permissions there; TMPDIR moves the folder that packages "
            "are made in",
        ) from error
