"""Defects of a version's tags."""

from __future__ import annotations

from pairlock.catalog import DIGEST_TAG
from support.planting.case import STAGES, Case


def missing(case: Case) -> None:
    """A version lacks tags that `pairlock log` writes."""
    version = case.held(case.random.choice(STAGES)) if case.number % 4 == 0 else case.any()
    client, number = case.site.client, str(version.number)
    names = sorted(version.own.tags)
    if case.planted:
        # one alone, each in turn; or several
        gone = [names[case.number // 2 % len(names)]]
        if case.number % 2:
            gone = case.random.sample(names, case.random.randint(2, len(names)))
        for name in gone:
            case.then(client.delete_model_version_tag, version.name, number, name)
    elif case.either():
        version.tags["team"] = "search"
        case.then(client.delete_model_version_tag, version.name, number, "team")
    else:
        name = case.random.choice(names)
        case.then(client.delete_model_version_tag, version.name, number, name)
        case.then(client.set_model_version_tag, version.name, number, name, version.tags[name])
    case.finds(version, "version tags")


def wrong(case: Case) -> None:
    """A tag says another thing than the manifest."""
    client = case.site.client
    is_held = case.number % 3 == 0
    stage = case.random.choice(STAGES)
    version = case.held(stage) if is_held else case.any()
    number = str(version.number)
    names = sorted(version.own.tags.keys() - {DIGEST_TAG})
    if not case.planted:
        name = case.random.choice([*names, "pairlock.note"])
        text = version.tags.get(name, "a note")
        case.then(client.set_model_version_tag, version.name, number, name, text)
    elif is_held:
        digest = f"sha256:{case.random.randbytes(32).hex()}"
        case.then(client.set_model_version_tag, version.name, number, DIGEST_TAG, digest)
        case.finds(version, DIGEST_TAG, stage=stage)
    else:
        name = case.random.choice(names)
        text = case.random.choice(["", "another", "9", version.tags[name] + " "])
        case.then(client.set_model_version_tag, version.name, number, name, text)
        case.finds(version, name)
