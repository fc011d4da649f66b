"""MLflow's server over HTTP, without MLflow: `settings` says how, `client` asks.

Shared by the catalog, which asks the registry there, and by the artifact proxy.
"""

from pairlock.tracking_server.client import NoAnswerError, TrackingServer, server

__all__ = ["NoAnswerError", "TrackingServer", "server"]
