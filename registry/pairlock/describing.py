"""What MLflow's pages say of a registered model and of its versions: Markdown, from a manifest.

Only what stays true is written: a version's package never changes, and what does (who holds which
stage) is left to the commands that know it.
"""

from __future__ import annotations

import json
import shlex

from pairlock.manifest import Kind, Manifest, PeftFacts
from pairlock.manifest.format import PAGE_NAME
from pairlock.markdown import code
from pairlock.summary import describe_adapter

MAX_CHARACTERS = 5000
"""What the column holds in MLflow 3.17's databases (`SqlModelVersion.description`)."""

_KINDS = {
    Kind.FULL: "Full",
    Kind.LINEAR: "Linear",
    Kind.TWO_LAYER: "Two-layer",
    Kind.CUSTOM: "Custom",
    Kind.PEFT: "PEFT",
}

_MOST_OF_A_VALUE = 400
"""Characters of one value, such as a long path, so that all of them fit."""


def version_description(name: str, version: int, manifest: Manifest, digest: str) -> str:
    """A version in a few lines.

    Args:
        name: the registered model.
        version: its version.
        manifest: the package's manifest.
        digest: its package digest.
    """
    uri = json.dumps(f"models:/{_shown(name)}/{version}", ensure_ascii=False)
    rows = []
    if manifest.base is not None:
        pinned = manifest.base.package_digest or manifest.base.tree_digest
        rows.append(("base", f"{_value(manifest.base.uri)}, pinned to {_value(pinned)}"))
    if manifest.adapter is not None:
        rows.append(("adapter", _value(describe_adapter(manifest.adapter))))
        rows.append(("side", _sides(manifest)))
    rows += [
        ("package", _value(digest)),
        ("load it with", code(f"pairlock.load({uri})")),
    ]
    end = f"`{PAGE_NAME}`, among the artifacts of its logged model, shows the whole pairing."
    return "\n".join([_title(manifest), "", *(f"- {name}: {text}" for name, text in rows), "", end])


def model_description(name: str) -> str:
    """What holds for every version of a registered model.

    Args:
        name: the registered model.
    """
    word = shlex.quote(_shown(name))
    target = shlex.quote(f"models:/{_shown(name)}")
    return "\n".join(
        [
            "Embedding models, packaged by Pairlock. A "
            "version that it registered carries tags `pairlock.*`: its kind, and the base that it "
            f"stands on by digest. `{PAGE_NAME}` among its artifacts shows the whole pairing.",
            "",
            "Who is in which stage is kept in a ledger, which the aliases here follow; an alias "
            "that is moved by hand is no promotion.",
            "",
            f"- stages, and who brought what there: {code(f'pairlock history {word}')}",
            f"- what stands on what: {code(f'pairlock lineage {target}')}",
            f"- what is wrong: {code(f'pairlock audit --model {word}')}",
        ]
    )


def _title(manifest: Manifest) -> str:
    """The first line, all of it that a list of versions shows."""
    dimension = f"{manifest.dimension} dimensions"
    if manifest.base is None:
        return f"Full model, {dimension}"
    base = manifest.base.uri.removeprefix("models:/")
    return f"{_KINDS[manifest.kind]} adapter on {_value(base)}, {dimension}"


def _shown(name: str) -> str:
    """A name that is written into a command, where a code span shows it as it is.

    One with backticks would come out with apostrophes, which end a quotation: whoever copies the
    command would run what the name says.
    """
    return name if code(name) == f"`{name}`" else "NAME"


def _sides(manifest: Manifest) -> str:
    """What of a search goes through the adapter: of an index, or of its users only."""
    facts = manifest.adapter
    if facts is None or isinstance(facts, PeftFacts):
        return "queries and documents"
    words = {"query": "queries", "text": "documents"}
    sides = [words[role.value] for role in facts.transforms]
    left = [word for word in words.values() if word not in sides]
    return f"{' and '.join(sides) or 'nothing'}" + (
        f"; {' and '.join(left)} as the base computes them" if left else ""
    )


def _value(text: str) -> str:
    short = text if len(text) <= _MOST_OF_A_VALUE else f"{text[: _MOST_OF_A_VALUE - 1]}…"
    return code(short)
