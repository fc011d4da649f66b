"""What an audit can find. Codes are stable: a published one never changes its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Vectors cannot be had, or need not be those that were approved."""

    WARNING = "warning"
    """It works today, and is going to fail or to surprise."""

    NOTE = "note"
    """Worth knowing."""

    @property
    def rank(self) -> int:
        """Larger is worse."""
        return {"error": 2, "warning": 1, "note": 0}[self.value]


class Code(StrEnum):
    """One kind of finding."""

    # base
    BASE_MISSING = "base-missing"
    BASE_MOVED = "base-moved"
    BASE_DIGEST = "base-digest"
    BASE_DIMENSION = "base-dimension"
    BASE_RETIRED = "base-retired"
    BASE_NOT_IN_STAGE = "base-not-in-stage"
    BASE_UNPINNED = "base-unpinned"
    BASE_UNREGISTERED = "base-unregistered"
    # package
    PACKAGE_MISSING = "package-missing"
    PACKAGE_INCOMPLETE = "package-incomplete"
    PACKAGE_TAMPERED = "package-tampered"
    PACKAGE_UNREADABLE = "package-unreadable"
    PACKAGE_UNREACHABLE = "package-unreachable"
    FOREIGN_FILES = "foreign-files"
    FOREIGN_FLAVOR = "foreign-flavor"
    PICKLE = "pickle"
    GOLDEN = "golden-vectors"
    NOT_PROVED = "not-proved"
    CACHE_DAMAGED = "cache-damaged"
    # tags
    TAGS_MISSING = "tags-missing"
    TAGS_WRONG = "tags-wrong"
    # stages
    ALIAS_UNEXPLAINED = "alias-unexplained"
    ALIAS_BEHIND = "alias-behind"
    LEDGER_BROKEN = "ledger-broken"
    HOLDER_GONE = "holder-gone"
    HOLDER_ARCHIVED = "holder-archived"
    HOLDER_FAILS_GATE = "holder-fails-gate"
    SPACE_CHANGES = "space-changes"
    POLICY_UNREADABLE = "policy-unreadable"
    # versions
    NOT_READY = "not-ready"
    LIBRARY_DRIFT = "library-drift"
    IDENTICAL = "identical"
    SUPERSEDED = "superseded"
    NEVER_PROFILED = "never-profiled"
    # indexes
    INDEX_UNKNOWN_VERSION = "index-unknown-version"
    INDEX_FOREIGN_SPACE = "index-foreign-space"
    # storage
    GC_WOULD_DELETE = "gc-would-delete"
    ORPHANED = "orphaned"


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What a code means, for the documentation, SARIF's rules and the report page."""

    severity: Severity
    title: str
    """A few words."""

    meaning: str
    """One sentence: what was found, and what follows from it."""

    todo: str
    """What to do about it."""


def _facts(severity: Severity, title: str, meaning: str, todo: str) -> CodeFacts:
    return CodeFacts(severity=severity, title=title, meaning=meaning, todo=todo)


_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

FACTS: Mapping[Code, CodeFacts] = MappingProxyType(
    {
        Code.BASE_MISSING: _facts(
            _ERROR,
            "Base missing",
            "The base that the adapter is pinned to is not there, and no registered version is the "
            "same package: the adapter does not load.",
            "Restore the base from a backup, or register the same bytes again.",
        ),
        Code.BASE_MOVED: _facts(
            _ERROR,
            "Base moved",
            "The pinned URI names another model now, as when a registered model is deleted and "
            "made again under its name: the adapter does not load on it.",
            "Register the pinned package again under any name, or train the adapter on the new "
            "base and log it as a new version.",
        ),
        Code.BASE_DIGEST: _facts(
            _ERROR,
            "Base digest mismatch",
            "The bytes of the base are not those that the adapter was pinned to: the adapter does "
            "not load on them.",
            "Restore the base's files from a backup of the store.",
        ),
        Code.BASE_DIMENSION: _facts(
            _ERROR,
            "Base dimension mismatch",
            "The base gives vectors of another dimension than the adapter takes.",
            "Give the adapter the base that it was trained on, or train it on this one.",
        ),
        Code.BASE_RETIRED: _facts(
            _WARNING,
            "Base retired",
            "The pinned version of the base is archived, or is gone and another version is the "
            "same package: the adapter loads as long as that stays.",
            "Bring the base back into use, or move the adapter to a base that is.",
        ),
        Code.BASE_NOT_IN_STAGE: _facts(
            _NOTE,
            "Base in no stage",
            "The adapter is in a stage and its base is in none, so that nothing shows the base's "
            "owners that it is in use.",
            "Promote the base, or ask for it with `base_stages` in the policy.",
        ),
        Code.BASE_UNPINNED: _facts(
            _WARNING,
            "Base not pinned",
            "Another flavor logged this adapter without a digest of its base: on another base it "
            "loads without a word, and gives other vectors.",
            "Log the adapter with `pairlock log --base`, and promote that version.",
        ),
        Code.BASE_UNREGISTERED: _facts(
            _NOTE,
            "Base not in the registry",
            "The base is pinned by digest, and lies in a folder that the registry does not keep.",
            "Log the base with `pairlock log`, and the adapter again on that version.",
        ),
        Code.PACKAGE_MISSING: _facts(
            _ERROR,
            "Package missing",
            "No package lies where the version's bytes should lie: it does not load.",
            "Restore the folder from a backup of the store, or log the model again.",
        ),
        Code.PACKAGE_INCOMPLETE: _facts(
            _ERROR,
            "Package incomplete",
            "A file that the manifest lists is not there: the version does not load.",
            "Restore the file from a backup of the store, or log the model again.",
        ),
        Code.PACKAGE_TAMPERED: _facts(
            _ERROR,
            "Package changed",
            "Bytes are not those that were registered: the version does not load.",
            "Find out who writes to the store, and restore the bytes from a backup.",
        ),
        Code.PACKAGE_UNREADABLE: _facts(
            _ERROR,
            "Manifest unreadable",
            "The manifest cannot be read by this release: the version does not load here.",
            "Use a newer release, or restore the manifest from a backup of the store.",
        ),
        Code.PACKAGE_UNREACHABLE: _facts(
            _ERROR,
            "Store unreachable",
            "The store did not answer, so nothing is known of the package.",
            "Check the credentials and the address of the store, then audit again.",
        ),
        Code.FOREIGN_FILES: _facts(
            _ERROR,
            "Foreign file",
            "A file lies in the payload that the manifest does not list: from a folder such a "
            "version does not load.",
            "Find out who writes to the store, and take the file away.",
        ),
        Code.FOREIGN_FLAVOR: _facts(
            _NOTE,
            "Logged by another flavor",
            "Another flavor logged this embedding model: there is no manifest, so nothing of it "
            "can be proved.",
            "Log the model with `pairlock log`.",
        ),
        Code.PICKLE: _facts(
            _WARNING,
            "Pickle",
            "A file is a pickle: whoever opens it runs the code in it.",
            "Convert the model to safetensors and log it again; take the file away.",
        ),
        Code.GOLDEN: _facts(
            _ERROR,
            "Golden vectors differ",
            "The version computes other vectors than were recorded when it was packaged.",
            "Compare the library versions with the recorded ones; do not serve it until they "
            "agree.",
        ),
        Code.NOT_PROVED: _facts(
            _WARNING,
            "Not proved",
            "Something that was asked for could not be checked.",
            "Do what the reason says, then audit again.",
        ),
        Code.CACHE_DAMAGED: _facts(
            _WARNING,
            "Copy on this machine damaged",
            "A file in this machine's cache is not what it was when it came.",
            "Run `pairlock audit --fix`, which fetches it again.",
        ),
        Code.TAGS_MISSING: _facts(
            _WARNING,
            "Tags missing",
            "The version lacks tags that `pairlock log` writes, as after MLflow's own "
            "`register_model`: without the digest nothing outside the package vouches for it.",
            "Run `pairlock audit --fix`, which writes those that somebody vouches for.",
        ),
        Code.TAGS_WRONG: _facts(
            _ERROR,
            "Tag wrong",
            "A tag says another thing than the manifest: somebody changed it.",
            "Find out who did, and write back what the manifest says.",
        ),
        Code.ALIAS_UNEXPLAINED: _facts(
            _ERROR,
            "Alias not explained by the ledger",
            "Somebody moved a stage's alias past the ledger: who loads by it gets what nobody "
            "approved.",
            "Put it back with `pairlock repair`, or promote the version that it names.",
        ),
        Code.ALIAS_BEHIND: _facts(
            _WARNING,
            "Alias behind the ledger",
            "An act was recorded and the alias has not followed, as when a process ended between "
            "the two.",
            "Run `pairlock audit --fix`; the next command on the model does it too.",
        ),
        Code.LEDGER_BROKEN: _facts(
            _ERROR,
            "Ledger broken",
            "The record of promotions is not what was written: who holds which stage cannot be "
            "proved.",
            "Bring the files back from a backup or the bucket's versions.",
        ),
        Code.HOLDER_GONE: _facts(
            _ERROR,
            "Stage holder gone",
            "The version that holds a stage is not in the registry: the stage does not load.",
            "Roll the stage back, or promote another version.",
        ),
        Code.HOLDER_ARCHIVED: _facts(
            _WARNING,
            "Stage holder archived",
            "The version that holds a stage is in MLflow's stage Archived: two records "
            "contradict each other.",
            "Demote it, or take it out of Archived.",
        ),
        Code.HOLDER_FAILS_GATE: _facts(
            _WARNING,
            "Stage holder fails a gate",
            "The version that holds a stage would not pass a gate of the policy in force today.",
            "Do what the gate asks for, promote another version, or change the policy.",
        ),
        Code.SPACE_CHANGES: _facts(
            _NOTE,
            "Document space changes",
            "What comes next into the stage embeds documents into another space: promoting it "
            "takes a re-index.",
            "Plan the re-index; `pairlock promote --dry-run` compares the vectors.",
        ),
        Code.POLICY_UNREADABLE: _facts(
            _WARNING,
            "Policy unreadable",
            "The policy cannot be read: every promotion is refused.",
            "Write it again with `pairlock policy store`.",
        ),
        Code.NOT_READY: _facts(
            _ERROR,
            "Version not ready",
            "MLflow's status of the version is not READY: it does not load.",
            "Log the model again, and delete this version.",
        ),
        Code.LIBRARY_DRIFT: _facts(
            _NOTE,
            "Libraries differ",
            "A version in use was packaged with other releases of the libraries that its vectors "
            "depend on.",
            "Prove the vectors with `pairlock audit --golden`, or install the recorded releases.",
        ),
        Code.IDENTICAL: _facts(
            _NOTE,
            "Identical package",
            "The version is the same package as an earlier one.",
            "Nothing has to be done; promote and compare one of them.",
        ),
        Code.SUPERSEDED: _facts(
            _NOTE,
            "Superseded",
            "A newer version of the model took the place that this one could have had.",
            "Delete it if nobody needs it, or bring the newer one to the earlier stage too.",
        ),
        Code.NEVER_PROFILED: _facts(
            _NOTE,
            "Never profiled",
            "The version holds a stage, and its device hints were never measured on a device.",
            "Run `pairlock profile` on the machine that serves it.",
        ),
        Code.INDEX_UNKNOWN_VERSION: _facts(
            _ERROR,
            "Index of an unknown version",
            "The package that an index was built with is no registered version: nothing here "
            "computes the vectors that it has to be asked with.",
            "Register the package again, or make the index anew with a version that is in a stage.",
        ),
        Code.INDEX_FOREIGN_SPACE: _facts(
            _WARNING,
            "Index in another space",
            "An index is in the document space of no version that is in a stage: whatever is "
            "loaded by a stage is refused there.",
            "Embed its documents again with the version in the stage, or retire the index.",
        ),
        Code.GC_WOULD_DELETE: _facts(
            _WARNING,
            "`mlflow gc` would delete it",
            "The version's bytes belong to something that is deleted in MLflow: the next "
            "`mlflow gc` deletes them, whatever points there.",
            "Restore the run, or log the model again, before anybody runs `mlflow gc`.",
        ),
        Code.ORPHANED: _facts(
            _NOTE,
            "Logged model without a version",
            "A package was stored that no registered version was made from, as when a process "
            "ended in between.",
            "Register it, or delete the logged model and run `mlflow gc`.",
        ),
    }
)
"""What each code means."""
