"""The golden vectors in a package: read and written, without torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pairlock.digests import canonical_json
from pairlock.errors import ErrorKind, FormatError
from pairlock.manifest import Manifest, PeftFacts, Role
from pairlock.manifest.format import GOLDEN_TEXTS, GOLDEN_VECTORS
from pairlock.packages import Package
from pairlock.spaces import GoldenDocuments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAME_AS = "same_as"
"""In the header of the golden vectors: a JSON object of the tensors that are left out, and which
one stands for each."""


def golden_documents(package: Package) -> GoldenDocuments:
    """A proved package's golden texts, and what it gives them as documents.

    Raises:
        FormatError: they are not what the manifest says they are.
        IntegrityError: a file was changed since it was proved.
    """
    vectors, texts = read_golden(package.root, package.manifest)
    package.proved.check_unchanged()
    return GoldenDocuments(texts=texts, vectors=vectors[Role.TEXT.value])


def write_golden(
    vectors: Mapping[str, NDArray[np.float32]], texts: tuple[str, ...], root: Path
) -> None:
    """Write golden vectors and their texts into a package that is being made.

    Vectors that are the same in two roles are written once, and the header says which stands for
    which: an adapter of some kilobytes has more golden vectors than weights otherwise.

    Args:
        vectors: (n_texts, dim) float32 each; see `read_golden`.
        texts: what they are of.
        root: the package's folder.
    """
    import numpy as np
    import safetensors.numpy

    (root / GOLDEN_TEXTS).write_bytes(canonical_json({"texts": list(texts)}))
    stored: dict[str, NDArray[np.float32]] = {}
    same_as: dict[str, str] = {}
    for name, array in sorted(vectors.items()):
        twin = next((one for one in stored if np.array_equal(stored[one], array)), None)
        if twin is None:
            stored[name] = np.ascontiguousarray(array)
        else:
            same_as[name] = twin
    # one entry: safetensors writes several in an order of its own, another one each time
    header = {_SAME_AS: canonical_json(same_as).decode()} if same_as else None
    safetensors.numpy.save_file(stored, root / GOLDEN_VECTORS, metadata=header)


def read_golden(
    root: Path, manifest: Manifest
) -> tuple[dict[str, NDArray[np.float32]], tuple[str, ...]]:
    """Read a package's golden vectors and texts, whose files were already proved.

    Args:
        root: the package's folder.
        manifest: its manifest.

    Returns:
        Vectors by `query`, `text`, and for adapters `base_query`, `base_text`, (n_texts, dim)
        float32 each; and the texts that they are of.

    Raises:
        FormatError: they are not what the manifest says they are.
    """
    from safetensors import SafetensorError

    expected = {role.value: manifest.dimension for role in Role}
    if manifest.base is not None:
        expected |= {f"base_{role}": _base_dimension(manifest) for role in Role}
    count = manifest.golden.texts
    try:
        known = json.loads((root / GOLDEN_TEXTS).read_bytes())
        texts = known["texts"]
        vectors = _read_vectors(root / GOLDEN_VECTORS, expected)
    except (ValueError, RecursionError, LookupError, TypeError, SafetensorError) as error:
        found = f"{type(error).__name__}: {error}"[:200]
        raise _not_golden(count, expected, found) from error
    shapes = {name: (array.shape, str(array.dtype)) for name, array in vectors.items()}
    wanted = {name: ((count, dimension), "float32") for name, dimension in expected.items()}
    if shapes != wanted or not _are_texts(texts, count):
        raise _not_golden(count, expected, str(shapes)[:400])
    return vectors, tuple(texts)


def _read_vectors(path: Path, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """The tensors of a file, and those that its header says are the same as one of them."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        same_as = json.loads((file.metadata() or {}).get(_SAME_AS, "{}"))
    return found | {
        name: found[same_as[name]] for name in names if name not in found and name in same_as
    }


def _base_dimension(manifest: Manifest) -> int:
    # a layer takes the base's vectors; PEFT's head comes after the base's encoder in both cases
    if isinstance(manifest.adapter, PeftFacts) or manifest.adapter is None:
        return manifest.dimension
    return manifest.adapter.in_features


def _not_golden(count: int, expected: dict[str, int], found: str) -> FormatError:
    return FormatError(
        "the golden vectors do not fit the manifest",
        kind=ErrorKind.GOLDEN_INVALID,
        checked=f"{GOLDEN_VECTORS} and {GOLDEN_TEXTS}",
        expected=f"{count} texts and float32 vectors for "
        + ", ".join(f"{name} of {dimension}" for name, dimension in sorted(expected.items())),
        found=found,
        done="nothing was loaded",
        hint="log the model again",
    )


def _are_texts(texts: object, count: int) -> bool:
    return (
        isinstance(texts, list)
        and len(texts) == count
        and all(isinstance(text, str) for text in texts)
    )
