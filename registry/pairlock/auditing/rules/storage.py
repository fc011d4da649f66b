"""What MLflow's garbage collection would take, and what nothing points to.

Read and tried with MLflow 3.17.2 (`mlflow.cli._gc_tracking_resources`): `mlflow gc` deletes the
bytes of every deleted logged model, and the artifact folder of every deleted run (also of the runs
of a deleted experiment), whatever version or alias points there; the version stays READY and its
alias stays. It leaves the bytes of logged models that a deleted run, or a deleted experiment, made.
"""

from __future__ import annotations

from collections.abc import Iterator

from pairlock.auditing.codes import FACTS, Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.known import Known
from pairlock.auditing.rules.saying import of_version
from pairlock.auditing.rules.view import View
from pairlock.inventory import PackageState, VersionFacts

_GONE = {PackageState.MISSING, PackageState.UNREACHABLE}


def find(view: View, known: Known) -> Iterator[AuditFinding]:  # noqa: ARG001 - one form for all
    """Bytes that `mlflow gc` would delete, and logged models without a version."""
    for version in view.inventory.versions():
        if version.doomed and version.package_state not in _GONE:
            yield _doomed(version, view)
    for model_id in view.inventory.orphans:
        yield AuditFinding(
            code=Code.ORPHANED,
            severity=FACTS[Code.ORPHANED].severity,
            model=None,
            version=None,
            place=model_id,
            expected="a registered version",
            found="none",
            todo=f"Register it with `mlflow.register_model('models:/{model_id}', NAME)`, or delete "
            f"it with `MlflowClient().delete_logged_model('{model_id}')` and run `mlflow gc`.",
        )


def _doomed(version: VersionFacts, view: View) -> AuditFinding:
    uses = list(view.uses(version))
    if view.stands_on(version):
        uses.append("adapters that stand on it")
    what, _, number = version.doomed.rpartition(" ")
    if what == "run":
        todo = f"Run `MlflowClient().restore_run('{number}')` before anybody runs `mlflow gc`."
    else:
        todo = "MLflow cannot restore a logged model: log it again before anybody runs `mlflow gc`."
    return of_version(
        Code.GC_WOULD_DELETE,
        version,
        severity=None if uses else Severity.NOTE,
        place=version.location,
        expected="bytes that nobody deleted",
        found=f"{version.doomed} is deleted"
        + (f", and it is used by {', '.join(uses)}" if uses else ""),
        todo=todo,
    )
