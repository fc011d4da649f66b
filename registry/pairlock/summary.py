"""The facts of a package that a person asks for first, in one order, for pages and tables."""

from __future__ import annotations

from pairlock.manifest import AdapterFacts, CustomFacts, DeviceHints, Manifest, PeftFacts
from pairlock.wording import counted


def summary_rows(manifest: Manifest, digest: str) -> list[tuple[str, str]]:
    """Name and value of every fact.

    Args:
        manifest: a package's manifest.
        digest: its package digest.
    """
    encode, golden = manifest.encode, manifest.golden
    rows = [("kind", manifest.kind.value), ("package digest", digest)]
    if manifest.base is not None:
        base = manifest.base
        rows += [("base", base.uri)]
        rows += [("base asked for as", base.requested)] if base.requested != base.uri else []
        rows += [
            ("base digest", base.package_digest or base.tree_digest),
            ("base found as", base.origin.value),
        ]
    if manifest.adapter is not None:
        rows.append(("adapter", describe_adapter(manifest.adapter)))
    rows += [
        ("dimension", str(manifest.dimension)),
        ("document space", manifest.spaces.document),
        ("query space", manifest.spaces.query),
        ("modules", " > ".join(encode.modules)),
        ("pooling", ", ".join(encode.pooling) or "none"),
        ("normalised after the modules", "yes" if encode.normalize else "no"),
        ("max tokens", str(encode.max_seq_length or "no limit")),
        ("query instruction", repr(encode.query_instruction)),
        ("text instruction", repr(encode.text_instruction)),
        ("runtimes", ", ".join(manifest.runtimes)),
        ("dtype", manifest.devices.dtype),
        ("devices", " > ".join(manifest.devices.order)),
        ("least memory", _memory(manifest.devices)),
        ("payload", f"{counted(len(manifest.files), 'file')}, {manifest.size_bytes:,} bytes"),
        ("golden vectors", f"{golden.texts} texts as query and as text"),
    ]
    if golden.adapter_shift is not None:
        rows.append(("largest shift by the adapter", f"{golden.adapter_shift:.2e}"))
    rows += [
        ("made from", manifest.provenance.source),
        ("left out", ", ".join(item.path for item in manifest.provenance.left_out) or "nothing"),
        (
            "made with",
            ", ".join(
                f"{name} {version}" for name, version in manifest.provenance.libraries.items()
            ),
        ),
    ]
    return rows


def _memory(hints: DeviceHints) -> str:
    return (
        f"{hints.weights_bytes:,} bytes of weights, {hints.batch_bytes:,} for {hints.batch_size} "
        "of the longest texts"
    )


def describe_adapter(facts: AdapterFacts) -> str:
    """An adapter in one line."""
    if isinstance(facts, PeftFacts):
        return f"{facts.peft_type} {facts.summary}"
    sides = " and ".join(role.value for role in facts.transforms) or "nothing"
    if isinstance(facts, CustomFacts):
        shape = f"{facts.in_features} > {facts.out_features}"
        return f"{facts.class_path} {shape}, transforms {sides}"
    if facts.class_name == "LinearLayer":
        shape = f"{facts.in_features} > {facts.out_features}, bias {'yes' if facts.bias else 'no'}"
    else:
        shape = (
            f"{facts.in_features} > {facts.hidden_features} > {facts.out_features}, "
            f"{facts.activation}, residual {'yes' if facts.add_residual else 'no'}"
        )
    return f"{facts.class_name} {shape}, transforms {sides}"
