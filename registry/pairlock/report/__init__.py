"""The report page: what an audit found, and what stands on what, as one HTML file.

`content` puts together what the page says and `drawing` where each box stands; both are rules.
`manifests` reads what is shown in full, and `page` fills the templates. `recording` logs an audit
as a run in MLflow, the page with it.
"""

from pairlock.report.recording import EXPERIMENT, log_audit
from pairlock.report.reporting import report_page

__all__ = ["EXPERIMENT", "log_audit", "report_page"]
