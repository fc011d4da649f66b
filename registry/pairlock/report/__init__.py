"""The report page: what an audit found, and what stands on what, as one HTML file."""
