"""Descriptions of registered models and versions, which MLflow's pages show."""

from __future__ import annotations

from pairlock.catalog.registry import ask
from pairlock.errors import PairlockError


def describe(name: str, version: int, *, of_version: str, of_model: str) -> str:
    """Describe a version and its model, where nobody has described them.

    Descriptions are a courtesy: the version is registered and loads without. So nothing is raised,
    and what a person wrote stays.

    Args:
        name: the registered model.
        version: its version.
        of_version: Markdown for the version.
        of_model: Markdown for the model.

    Returns:
        Why that failed, in a few words; empty where it did not.
    """
    model, uri, number = f"models:/{name}", f"models:/{name}/{version}", str(version)
    try:
        if not (ask(uri, "get_model_version", name, number).description or "").strip():
            ask(uri, "update_model_version", name, number, of_version)
        if not (ask(model, "get_registered_model", name).description or "").strip():
            ask(model, "update_registered_model", name, of_model)
    except PairlockError as error:
        return error.summary
    return ""
