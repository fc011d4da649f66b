"""The report page: what an audit found, and what stands on what, as one HTML file.

`content` puts together what the page says and `drawing` where each box stands; both are rules.
`manifests` reads what is shown in full, and `page` fills the templates.
"""

from pairlock.report.reporting import report_page

__all__ = ["report_page"]
