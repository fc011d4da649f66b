"""Makes the report page of an audit."""

from __future__ import annotations

from pairlock.auditing.result import Audit
from pairlock.report.manifests import read_manifests
from pairlock.report.page import page
from pairlock.standing.building import build_graph
from pairlock.standing.tracing import gone_folders


def report_page(audit: Audit) -> str:
    """Write the report page of an audit.

    Args:
        audit: what was found. Its filters choose the findings; the graph is of the whole registry.

    Returns:
        An HTML document that needs nothing but itself.
    """
    inventory = audit.inventory
    graph = build_graph(inventory, audit.indexes, gone=gone_folders(inventory))
    return page(inventory, audit.findings, graph, manifests=read_manifests(inventory))
