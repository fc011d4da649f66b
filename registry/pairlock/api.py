"""What a user calls. Everything heavy is imported when it is called, not before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, overload

from pairlock._bridge import flavor, loading
from pairlock.config import current_settings
from pairlock.logged import LoggedPackage
from pairlock.progress import SILENT, Progress

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

    from pairlock.encoder import Encoder


@overload
def load(
    uri: str,
    *,
    runtime: str | None = None,
    interface: Literal["callable"],
    device: str = "auto",
    dtype: str | None = None,
    merge: bool | None = None,
    base: str | None = None,
    golden: bool = False,
    expected_digest: str | None = None,
    allow: Iterable[str] = (),
    offline: bool | None = None,
    rehash: bool = False,
    progress: Progress = SILENT,
) -> Encoder: ...


@overload
def load(
    uri: str,
    *,
    runtime: str | None = None,
    interface: Literal["llama_index"] = "llama_index",
    device: str = "auto",
    dtype: str | None = None,
    merge: bool | None = None,
    base: str | None = None,
    golden: bool = False,
    expected_digest: str | None = None,
    allow: Iterable[str] = (),
    offline: bool | None = None,
    rehash: bool = False,
    progress: Progress = SILENT,
) -> BaseEmbedding: ...


def load(
    uri: str,
    *,
    runtime: str | None = None,
    interface: str = "llama_index",
    device: str = "auto",
    dtype: str | None = None,
    merge: bool | None = None,
    base: str | None = None,
    golden: bool = False,
    expected_digest: str | None = None,
    allow: Iterable[str] = (),
    offline: bool | None = None,
    rehash: bool = False,
    progress: Progress = SILENT,
) -> BaseEmbedding | Encoder:
    """Load a registered model as a LlamaIndex embedding, or fail.

    Before anything is loaded, every file of the package, and of an adapter's base, is compared with
    what was approved: path, size and sha256. What lies in S3 or behind MLflow's artifact proxy is
    brought into the cache first, once per machine; there a file that was hashed, and is unchanged
    by size, time and inode since, is not hashed again. Recorded instructions, normalisation,
    maximum length and dtype are applied.

    Args:
        uri: `models:/name/3`, `models:/name@alias`, `models:/name/Stage`, `models:/m-…`,
            `runs:/<run id>/<name>`, `s3://bucket/prefix`, or a package's folder.
        runtime: `torch`, the reference; `onnx`, which needs no torch and starts many times sooner,
            on the CPU; or `auto`: torch where it is installed, else onnx. None for
            `PAIRLOCK_RUNTIME`, which is `auto` where it is not set. Both compute the recorded
            vectors.
        interface: `llama_index` for a LlamaIndex embedding; `callable` for an `Encoder`, a function
            from texts to vectors that imports no LlamaIndex.
        device: `auto`, or a torch device.
        dtype: float32, float16 or bfloat16 in place of the recorded one. The vectors are then
            close to the approved ones, and no longer the same; the receipt says so.
        merge: whether a PEFT adapter is added to weights of its own (no cost when texts are
            embedded) or kept apart (all other weights stay shared with its base). None: added in
            float32, kept apart in half precision, where the sum would be rounded.
        base: the only place to take an adapter's base from, such as a mirror's folder; it must
            hold exactly the pinned bytes. Without it the cache, the pin's own URI and the mirrors
            in `PAIRLOCK_MIRRORS` are tried in this order.
        golden: recompute the golden vectors in float32 on the CPU, and compare.
        expected_digest: a package digest known from elsewhere, which must match.
        allow: classes of other packages that may be imported and run, as `package.module:Class`,
            beside those in `PAIRLOCK_ALLOW_CLASSES` and those that installed packages offer.
        offline: use no network, and the registry's last answer; None for `PAIRLOCK_OFFLINE`.
        rehash: hash every file again, also those that are unchanged in the cache.
        progress: told about the work.

    Returns:
        In the torch runtime a `HuggingFaceEmbedding` for a full model, an `AdapterEmbeddingModel`
        for an adapter (subclasses of them); in the onnx runtime a `BaseEmbedding` of our own.
        `pairlock.receipt` says what was checked.

    Raises:
        IntegrityError: anything differs from what was approved. Nothing is loaded.
        NotFoundError: the model, its bytes or its base is not there.
        FormatError: the manifest cannot be read.
        InvalidInputError: the URI or an argument cannot be.
        UnsupportedError: it is in a store that this release does not read.
        UnavailableError: the registry, the store, the device or the runtime is not there, or this
            machine is offline and has not got everything.
        StorageError: files cannot be read, or the cache cannot be written.
    """
    found: BaseEmbedding | Encoder = loading().load(
        uri,
        settings=current_settings(offline=offline, rehash=rehash, allow=allow),
        wish=loading().Wish(
            runtime=runtime,
            interface=interface,
            device=device,
            dtype=dtype,
            merge=merge,
            base=base,
            golden=golden,
            expected_digest=expected_digest,
        ),
        progress=progress,
    )
    return found


def log_model(
    model: object,
    name: str | None = None,
    *,
    base: str | None = None,
    registered_model_name: str | None = None,
    **kwargs: Any,
) -> LoggedPackage:
    """Package a finetuned model, prove the package, log it and register it.

    Args:
        model: the folder a trainer saved; a `SentenceTransformer`, `PeftModel`,
            `HuggingFaceEmbedding` or `AdapterEmbeddingModel`; or what trained it: a
            `SentenceTransformerTrainer`, or LlamaIndex's `SentenceTransformersFinetuneEngine` or
            `EmbeddingAdapterFinetuneEngine`.
            With a trainer, its metrics, parameters and datasets are linked to the model in
            MLflow: in the active run, in the run that the trainer reported to, or else in a new
            run that has ended when this returns.
        name: the logged model's name; the registered name when left out.
        base: what an adapter was trained on: `models:/name/1`, an alias or stage (resolved once),
            `hf://org/name@commit`, `s3://bucket/prefix`, or a folder.
        registered_model_name: register a version under this name.
        **kwargs: `query_instruction`, `text_instruction`, `normalize`, `adapter_class` (of an
            adapter's folder, where it is another package's), `allow`, `runtimes` (what the package
            is made for: torch and onnx, or torch alone), `metadata`, `tags`, and what MLflow's
            `Model.log` takes.

    Returns:
        What was logged; its `uri` loads it.

    Raises:
        InvalidInputError: the model, the name or the base cannot be packaged.
        UnsupportedError: it is recognised, and this release does not package it.
        IntegrityError: a pickle in it is unsafe, weights are missing, or its base is not sound.
        NotFoundError: the folder or the base is not there.
        UnavailableError: the registry cannot be used.
        StorageError: files cannot be read or written.
    """
    logged: LoggedPackage = flavor().log_package(
        model, name, base=base, registered_model_name=registered_model_name, **kwargs
    )
    return logged
