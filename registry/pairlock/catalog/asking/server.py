"""MLflow's registry behind a server, asked by its REST interface."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pairlock.catalog.asking.interface import (
    MOST_COUNTED,
    PROMPT_TAG,
    LoggedModel,
    Reason,
    RegisteredVersion,
    UnansweredError,
    no_such_model,
    not_a_prompt,
)
from pairlock.tracking_server import NoAnswerError, server

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_API = "/api/2.0/mlflow"
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}
_REFUSED = {"PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "UNAUTHENTICATED"}
_PAGE = 100
_MOST_PAGES = 10_000

Json = dict[str, Any]


class Server:
    """One server.

    Args:
        uri: where it is.

    Raises:
        OnlyMlflowError: something is set that only MLflow's own client does.
    """

    def __init__(self, uri: str) -> None:
        self._server = server(uri)

    def close(self) -> None:
        """Nothing: its connection is kept for the next questions."""

    def count_models(self) -> tuple[int, bool]:
        """How many registered models there are; as `VersionQuestions.count_models`."""
        found = self._get("/registered-models/search", {"max_results": str(MOST_COUNTED)})
        return len(_list(found, "registered_models")), bool(_text(found, "next_page_token"))

    def version(self, name: str, version: int) -> RegisteredVersion:
        """A version that is not deleted; as `VersionQuestions.version`."""
        found = self._get("/model-versions/get", {"name": name, "version": str(version)})
        return not_a_prompt(_registered(found.get("model_version")))

    def aliased(self, name: str, alias: str) -> RegisteredVersion:
        """The version that an alias points to; as `VersionQuestions.aliased`."""
        found = self._get("/registered-models/alias", {"name": name, "alias": alias})
        return not_a_prompt(_registered(found.get("model_version")))

    def newest_in_stage(self, name: str, stage: str) -> RegisteredVersion | None:
        """The newest version in a legacy stage; as `VersionQuestions.newest_in_stage`."""
        model = _object(self._get("/registered-models/get", {"name": name}).get("registered_model"))
        if PROMPT_TAG in _tags(model):
            raise no_such_model(name)
        versions = [_registered(one) for one in _list(model, "latest_versions")]
        return next((version for version in versions if version.stage == stage), None)

    def download_location(self, name: str, version: int) -> str:
        """Where the bytes of a version lie; as `VersionQuestions.download_location`."""
        asked = {"name": name, "version": str(version)}
        return _text(self._get("/model-versions/get-download-uri", asked), "artifact_uri")

    def tagged(self, tag: str, text: str) -> tuple[RegisteredVersion, ...]:
        """Every version with a tag of this text; as `VersionQuestions.tagged`."""
        return tuple(self._pages(f"tags.`{tag}` = '{text}'"))

    def logged_model(self, model_id: str) -> LoggedModel:
        """A logged model that is not deleted; as `ModelQuestions.logged_model`."""
        found = self._get(f"/logged-models/{quote(model_id, safe='')}")
        info = _object(_object(found.get("model")).get("info"))
        return LoggedModel(
            model_id=_text(info, "model_id"),
            name=_text(info, "name"),
            location=_text(info, "artifact_uri"),
            tags=_tags(info),
        )

    def models_of_run(self, run_id: str) -> tuple[str, ...]:
        """The ids of the models that were logged under a run; as `ModelQuestions.models_of_run`."""
        run = _object(self._get("/runs/get", {"run_id": run_id, "run_uuid": run_id}).get("run"))
        outputs = _object(run.get("outputs", {}))
        return tuple(_text(_object(one), "model_id") for one in _list(outputs, "model_outputs"))

    def _pages(self, wanted: str) -> Iterator[RegisteredVersion]:
        asked = {"filter": wanted, "max_results": str(_PAGE)}
        for _ in range(_MOST_PAGES):
            found = self._get("/model-versions/search", asked)
            yield from (_registered(one) for one in _list(found, "model_versions"))
            token = _text(found, "next_page_token")
            if not token:
                return
            asked["page_token"] = token
        raise UnansweredError(f"{self._server.base} answers without end")

    def _get(self, path: str, fields: Mapping[str, str] | None = None) -> Json:
        try:
            answer = self._server.get(f"{_API}{path}", fields)
        except NoAnswerError as error:
            raise UnansweredError(str(error)) from error
        content = _json(answer)
        if answer.status == 200 and content is not None:
            return content
        raise _refusal(f"{_API}{path}", answer, content)


def _json(answer: BaseHTTPResponse) -> Json | None:
    """The document in an answer; None when there is none."""
    if answer.status == 200 and answer.data.strip() in {b"", b"200 OK"}:
        return {}
    try:
        found = json.loads(answer.data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refusal(path: str, answer: BaseHTTPResponse, content: Json | None) -> UnansweredError:
    """What the server says instead of an answer, in the words in which MLflow passes it on."""
    if answer.status == 200:
        text = answer.data.decode("utf-8", "replace")
        return UnansweredError(
            "API request to endpoint was successful but the response body was not in a valid "
            f"JSON format. Response body: '{text}'"
        )
    reason = Reason.REFUSED if answer.status in {401, 403} else Reason.FAILED
    if content is None:
        text = answer.data.decode("utf-8", "replace")
        return UnansweredError(
            f"API request to endpoint {path} failed with error code {answer.status} != 200. "
            f"Response body: '{text}'",
            reason,
        )
    code = str(content.get("error_code") or "INTERNAL_ERROR")
    if code in _MISSING:
        reason = Reason.MISSING
    elif code in _REFUSED:
        reason = Reason.REFUSED
    return UnansweredError(f"{code}: {content.get('message', f'Response: {content}')}", reason)


def _registered(found: Any) -> RegisteredVersion:
    version = _object(found)
    name, number = _text(version, "name"), _text(version, "version")
    if not name or not number:
        raise UnansweredError("the answer names no version")
    return RegisteredVersion(
        name=name,
        version=_number(number),
        status=_text(version, "status") or "PENDING_REGISTRATION",  # its first, which is left out
        status_message=_text(version, "status_message"),
        stage=_text(version, "current_stage"),
        source=_text(version, "source"),
        created_ms=_number(version.get("creation_timestamp", 0)),
        tags=_tags(version),
    )


def _tags(found: Json) -> Mapping[str, str]:
    tags = [_object(tag) for tag in _list(found, "tags")]
    return {_text(tag, "key"): _text(tag, "value") for tag in tags}


def _object(found: Any) -> Json:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UnansweredError(f"the answer holds {_shown(found)} in place of an object")
    return found


def _list(found: Json, key: str) -> list[Any]:
    value = found.get(key, [])
    if not isinstance(value, list):
        raise UnansweredError(f"the answer holds {_shown(value)} in place of a list")
    return value


def _text(found: Json, key: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise UnansweredError(f"the answer holds {_shown(value)} as {key}")
    return value


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise UnansweredError(f"the answer holds {_shown(value)} in place of a number") from error


def _shown(value: Any) -> str:
    return repr(value)[:60]
