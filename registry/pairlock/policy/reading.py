"""Texts to `Policy`: the one place where policies are parsed. Every problem is listed at once."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterator
from typing import Any

from pairlock.errors import ErrorKind, Finding, FormatError, InvalidInputError
from pairlock.metrics import NAME
from pairlock.policy.document import (
    AnyOfEach,
    NoRegression,
    Policy,
    Requirement,
    StagePolicy,
    parse_requirement,
    stage_problem,
)
from pairlock.policy.gates import BYPASSABLE, Acknowledgement, Gate
from pairlock.wording import counted

_KEYS = (
    "from",
    "require",
    "no_regression",
    "base_stages",
    "min_age_hours",
    "approvals",
    "signature",
    "reindex",
    "bypass",
)
_MOST_APPROVALS = 100
"""More can only be a slip of the finger."""

_MOST_HOURS = 24.0 * 366 * 100


def read_policy(content: bytes | str, *, where: str) -> Policy:
    """Read a policy from TOML, as people write it.

    Args:
        content: the text, in UTF-8 where it is bytes.
        where: what to call it in messages.

    Raises:
        FormatError: it is no policy; every problem is listed.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(where, [_problem("the file", "TOML", str(error))]) from error
    return _read(data, where)


def read_stored_policy(text: str, *, where: str) -> Policy:
    """Read a policy from the JSON that a registered model keeps.

    Args:
        text: what `policy_text` gave.
        where: what to call it in messages.

    Raises:
        FormatError: it is no policy; every problem is listed.
    """
    try:
        data = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise _invalid(where, [_problem("the text", "JSON", str(error))]) from error
    return _read(data, where)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's keys, each once, as in TOML: of two rules it would not be clear which holds."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key is there twice among {', '.join(key for key, _ in pairs)}"[:200])
    return found


def _read(data: Any, where: str) -> Policy:
    reader = _Reader()
    policy = reader.policy(data)
    if reader.problems:
        raise _invalid(where, reader.problems)
    return policy


def _problem(place: str, expected: str, found: str) -> Finding:
    return Finding(kind=ErrorKind.POLICY_INVALID, place=place, expected=expected, found=found)


def _invalid(where: str, problems: list[Finding]) -> FormatError:
    return FormatError(
        f"{where} is not a valid policy",
        kind=ErrorKind.POLICY_INVALID,
        checked=where,
        expected="a policy as docs/policy.md describes it",
        found=counted(len(problems), "problem"),
        findings=problems,
        done="nothing was decided by it",
        hint="mend what is listed; `pairlock policy check` reads it again",
    )


class _Reader:
    """Reads a document, and collects problems. What is wrong gives a harmless placeholder."""

    def __init__(self) -> None:
        self.problems: list[Finding] = []

    def report(self, place: str, expected: str, found: object) -> None:
        self.problems.append(_problem(place, expected, _words(found)))

    def policy(self, data: Any) -> Policy:
        table = self._table("the policy", data, ("stages",), prefix="")
        stages = table.get("stages", {})
        if not isinstance(stages, dict) or not stages:
            self.report("stages", "at least one stage, as [stages.production]", stages)
            return Policy()
        for name in stages:
            if (expected := stage_problem(name)) is not None:
                self.report(f"stages.{name}", expected, name)
        for name, other in _alike(list(stages)):
            self.report(f"stages.{name}", "a name that differs not only in case", other)
        return Policy({name: self._stage(name, stages[name], stages) for name in stages})

    def _stage(self, name: str, data: Any, stages: Collection[str]) -> StagePolicy:
        place = f"stages.{name}"
        table = self._table(place, data, _KEYS, prefix=f"{place}.")
        return StagePolicy(
            from_stages=self._from(f"{place}.from", table.get("from"), name, stages),
            require=self._require(f"{place}.require", table.get("require", [])),
            no_regression=self._no_regression(
                f"{place}.no_regression", table.get("no_regression", [])
            ),
            base_stages=self._sets(f"{place}.base_stages", table.get("base_stages")),
            min_age_hours=self._number(
                f"{place}.min_age_hours", table.get("min_age_hours", 0), most=_MOST_HOURS
            ),
            approvals=self._count(f"{place}.approvals", table.get("approvals", 0)),
            signature=self._boolean(f"{place}.signature", table.get("signature", False)),
            reindex=self._reindex(f"{place}.reindex", table.get("reindex", "planned")),
            bypass=self._bypass(f"{place}.bypass", table.get("bypass", [])),
        )

    def _table(
        self, place: str, data: Any, keys: Collection[str], *, prefix: str
    ) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.report(place, "a table", data)
            return {}
        for key in data:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, n=1)
                meant = f"{near[0]}, or no such key" if near else f"one of {', '.join(keys)}"
                self.report(f"{prefix}{key}", meant, f"the unknown key {key!r}")
        return data

    def _items(self, place: str, value: Any) -> Iterator[tuple[str, Any]]:
        if not isinstance(value, list):
            self.report(place, "a list", value)
            return
        for index, item in enumerate(value):
            yield f"{place}[{index}]", item

    def _from(self, place: str, value: Any, stage: str, stages: Collection[str]) -> AnyOfEach:
        sets = self._sets(place, value)
        named = {name for one in sets for name in one}
        for name in sorted(named - set(stages)):
            near = difflib.get_close_matches(name, list(stages), n=1)
            self.report(place, f"a stage of this policy{_did(near)}", name)
        if any(one == {stage} for one in sets):
            self.report(place, "a stage before this one", f"{stage}, which is this one")
        return sets

    def _sets(self, place: str, value: Any) -> AnyOfEach:
        """Names, of which one is needed; or lists of names, of each of which one is needed."""
        if value is None:
            return ()
        if value == []:
            self.report(place, "at least one stage; leave the key out to ask for none", value)
            return ()
        nested = isinstance(value, list) and all(isinstance(item, list) for item in value)
        lists = list(self._items(place, value)) if nested else [(place, value)]
        sets = []
        for where, names in lists:
            if names == []:
                self.report(where, "at least one stage", names)
            sets.append(frozenset(self._names(where, names)))
        return tuple(one for one in sets if one)

    def _names(self, place: str, value: Any) -> Iterator[str]:
        seen: set[str] = set()
        for where, name in self._items(place, value):
            if not isinstance(name, str):
                self.report(where, "the name of a stage", name)
            elif (expected := stage_problem(name)) is not None:
                self.report(where, expected, name)
            elif name in seen:
                self.report(where, "each stage once", name)
            else:
                seen.add(name)
                yield name

    def _require(self, place: str, value: Any) -> tuple[Requirement, ...]:
        found: dict[tuple[str, str], Requirement] = {}
        for where, text in self._items(place, value):
            try:
                item = parse_requirement(text if isinstance(text, str) else "")
            except InvalidInputError as error:
                self.report(where, error.expected, text)
                continue
            if item.key in found:
                self.report(where, "one bound for a metric and operator", f"{text!r}, a second one")
            found.setdefault(item.key, item)
        return tuple(found.values())

    def _no_regression(self, place: str, value: Any) -> tuple[NoRegression, ...]:
        found: dict[str, NoRegression] = {}
        for where, item in self._items(place, value):
            table = self._table(where, item, ("metric", "tolerance"), prefix=f"{where}.")
            tolerance = self._number(f"{where}.tolerance", table.get("tolerance", 0))
            metric = table.get("metric")
            if not isinstance(metric, str) or not re.fullmatch(NAME, metric):
                self.report(f"{where}.metric", "the name of a metric, such as ndcg@10", metric)
                continue
            rule = NoRegression(metric, tolerance)
            if rule.key in found:
                self.report(where, "one tolerance for a metric", f"{metric!r}, a second time")
            found.setdefault(rule.key, rule)
        return tuple(found.values())

    def _bypass(self, place: str, value: Any) -> frozenset[Gate]:
        found: list[Gate] = []
        known = sorted(gate.value for gate in BYPASSABLE)
        for where, name in self._items(place, value):
            if name in found:
                self.report(where, "each gate once", name)
            elif name in known:
                found.append(Gate(name))
            elif name in [gate.value for gate in Gate]:
                self.report(where, "a gate that may be bypassed", f"{name}, which never may")
            else:
                near = difflib.get_close_matches(str(name), known, n=1)
                self.report(where, f"one of {', '.join(known)}{_did(near)}", name)
        return frozenset(found)

    def _reindex(self, place: str, value: Any) -> Acknowledgement:
        if isinstance(value, str) and value in set(Acknowledgement):
            return Acknowledgement(value)
        self.report(place, '"planned" or "done"', value)
        return Acknowledgement.DONE

    def _number(self, place: str, value: Any, *, most: float = 1e300) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and 0 <= value <= most:  # NaN is neither
            return float(value) + 0.0
        self.report(place, f"a number from 0 to {most:g}", value)
        return 0.0

    def _count(self, place: str, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_APPROVALS:
            return value
        self.report(place, f"a whole number from 0 to {_MOST_APPROVALS}", value)
        return 0

    def _boolean(self, place: str, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        self.report(place, "true or false", value)
        return True


def _alike(names: list[str]) -> Iterator[tuple[str, str]]:
    """Names that some databases of MLflow's take for one alias."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(name.lower(), name)
        if first != name:
            yield name, first


def _did(near: list[str]) -> str:
    return f"; did you mean {near[0]}?" if near else ""


def _words(value: object) -> str:
    if isinstance(value, str):
        return value if value.strip() else repr(value)
    if value is None:
        return "nothing"
    kinds = {dict: "a table", list: "a list", bool: "a truth value", int: "", float: ""}
    kind = next((words for of, words in kinds.items() if isinstance(value, of)), "a value")
    return f"{kind} {value!r}".strip()[:200]
