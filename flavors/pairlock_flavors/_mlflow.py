"""Everything that touches MLflow's model format and its internals, in one file.

Written against MLflow 3.17; `mlflow.models.Model.log` and the three environment files are what
every flavor inside MLflow uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME, ModelInfo
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.utils.environment import (
    _CONDA_ENV_FILE_NAME,
    _PYTHON_ENV_FILE_NAME,
    _REQUIREMENTS_FILE_NAME,
    _mlflow_conda_env,
    _PythonEnv,
)

from pairlock.catalog import DIGEST_TAG, EXPERIMENT, client, registry_unavailable
from pairlock.manifest import FORMAT_VERSION, CustomFacts, Manifest, PeftFacts
from pairlock.stores.failures import STORING, first_line, refused, unreachable
from pairlock_flavors.pyfunc import DEFAULT_CONFIG

FLAVOR_NAME = "pairlock"
LOADER_MODULE = "pairlock_flavors.loader"

_PINNED = (
    "pairlock",
    "mlflow",
    "sentence-transformers",
    "transformers",
    "torch",
    "safetensors",
    "llama-index-core",
    "llama-index-embeddings-huggingface",
    "llama-index-embeddings-adapter",
)
"""Named one by one: whoever serves a package needs these of `pairlock[torch]`, and not the rest."""

_PINNED_FOR_GRAPHS = ("onnxruntime", "tokenizers", "numpy")


def requirements(manifest: Manifest | None = None) -> list[str]:
    """Pinned requirements of a package: the libraries that its vectors depend on.

    Args:
        manifest: the package's; None for what every package needs.

    They are listed, not inferred: MLflow's inference loads the model in a subprocess and finds
    whatever else happens to be imported.
    """
    names: tuple[str, ...] = _PINNED
    if manifest is not None and "onnx" in manifest.runtimes:
        names += _PINNED_FOR_GRAPHS
    # a local label such as +cpu names a build that an index does not have
    found = [f"{name}=={version(name).partition('+')[0]}" for name in names]
    adapter = None if manifest is None else manifest.adapter
    if isinstance(adapter, PeftFacts):
        found.append(f"peft=={version('peft')}")
    if isinstance(adapter, CustomFacts) and adapter.distribution is not None:
        found.append(adapter.distribution)
    return found


def conda_environment(manifest: Manifest | None = None) -> dict[str, Any]:
    """The conda environment of a package, as MLflow writes it."""
    environment: dict[str, Any] = _mlflow_conda_env(
        additional_pip_deps=requirements(manifest), install_mlflow=False
    )
    return environment


def signature(dimension: int) -> ModelSignature:
    """Texts in, vectors out.

    One unnamed string column accepts lists, strings, Series, one-column tables and nearly every
    HTTP body; a named one refuses plain lists. MLflow sends the default of a parameter with every
    call, so the default is empty and means the role in the model's configuration.
    """
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, dimension))]),
        params=ParamSchema([ParamSpec("role", DataType.string, "")]),
    )


def facts(manifest: Manifest, digest: str) -> dict[str, str]:
    """What an audit needs of a version, as tags, so that it moves no bytes."""
    found = {
        DIGEST_TAG: digest,
        "pairlock.format": str(FORMAT_VERSION),
        "pairlock.kind": manifest.kind.value,
        "pairlock.dimension": str(manifest.dimension),
        "pairlock.document_space": manifest.spaces.document,
        "pairlock.query_space": manifest.spaces.query,
    }
    if manifest.base is not None:
        found |= {
            "pairlock.base.uri": manifest.base.uri,
            "pairlock.base.origin": manifest.base.origin.value,
            "pairlock.base.tree_digest": manifest.base.tree_digest,
        }
        if manifest.base.package_digest is not None:
            found["pairlock.base.package_digest"] = manifest.base.package_digest
    return found


def write_model_files(
    root: Path,
    manifest: Manifest,
    digest: str,
    *,
    model: Model | None,
    metadata: dict[str, Any] | None,
) -> None:
    """Write `MLmodel` and the environment files into a package."""
    model = model or Model()
    model.signature = signature(manifest.dimension)
    if metadata is not None:
        model.metadata = metadata
    mlflow.pyfunc.add_to_model(
        model,
        loader_module=LOADER_MODULE,
        conda_env=_CONDA_ENV_FILE_NAME,
        python_env=_PYTHON_ENV_FILE_NAME,
        model_config=dict(DEFAULT_CONFIG),
    )
    model.add_flavor(
        FLAVOR_NAME,
        pairlock_version=version("pairlock"),
        **{
            name.removeprefix("pairlock."): value for name, value in facts(manifest, digest).items()
        },
    )
    model.model_size_bytes = manifest.size_bytes
    model.save(str(root / MLMODEL_FILE_NAME))
    _write_environment(root, manifest)


def remote_location(model: Model | None) -> str | None:
    """Where MLflow is going to store a model, if that is a remote store that Pairlock writes to.

    Model.log hands every flavor a model with the logged model's location in `artifact_path`.
    Databricks' registries are given the local files, and have to find all of them there.
    """
    location = str(getattr(model, "artifact_path", None) or "")
    if getattr(model, "model_id", None) is None or not location:
        return None
    if str(mlflow.get_registry_uri()).startswith("databricks"):
        return None
    return location if location.startswith(("s3://", "s3a://", "mlflow-artifacts:")) else None


def log_package(
    flavor: Any,
    prepared: Any,
    *,
    tags: dict[str, str],
    name: str,
    registered_model_name: str | None,
    **kwargs: Any,
) -> ModelInfo:
    """Hand a prepared package to MLflow: upload first, register last, tags with the version.

    Raises:
        UnavailableError: MLflow could not store or register it; no version was made.
    """
    with translated():
        return Model.log(
            artifact_path=None,
            name=name,
            flavor=flavor,
            flavor_name=FLAVOR_NAME,
            model=prepared,
            registered_model_name=registered_model_name,
            tags=tags,
            **kwargs,
        )


@contextmanager
def new_logged_model(name: str, tags: dict[str, str]) -> Iterator[Model]:
    """A logged model in the registry in use, which is ready when the block has stored all of it.

    On an error it is removed again, so that nobody sees half of it.

    Args:
        name: its name.
        tags: from its first moment.

    Raises:
        UnavailableError: MLflow could not make it, or not finish it.
    """
    with translated():
        made = client().create_logged_model(EXPERIMENT, name=name, tags=tags)
    place = str(made.artifact_location)
    try:
        yield Model(
            artifact_path=place, model_uuid=made.model_id, model_id=made.model_id, run_id=None
        )
        with translated():
            client().finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            client().finalize_logged_model(made.model_id, LoggedModelStatus.FAILED)
            client().delete_logged_model(made.model_id)
        raise


@contextmanager
def translated() -> Iterator[None]:
    """MLflow's own errors, and those of what it talks to, as Pairlock's."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise registry_unavailable(error) from error
    except (Boto3Error, BotoCoreError, ClientError, RequestException) as error:
        place, found = "where MLflow keeps models", first_line(error)
        if getattr(getattr(error, "response", None), "status_code", None) in {401, 403}:
            hint = "check the credentials, and whether this user may log models"
            raise refused(place, found, hint=hint, done=STORING) from error
        raise unreachable(place, found, done=STORING) from error


def _write_environment(root: Path, manifest: Manifest) -> None:
    import yaml

    (root / _REQUIREMENTS_FILE_NAME).write_text(
        "\n".join(requirements(manifest)) + "\n", encoding="utf-8"
    )
    conda = yaml.safe_dump(conda_environment(manifest), default_flow_style=False, sort_keys=False)
    (root / _CONDA_ENV_FILE_NAME).write_text(conda, encoding="utf-8")
    _PythonEnv.current().to_yaml(str(root / _PYTHON_ENV_FILE_NAME))
