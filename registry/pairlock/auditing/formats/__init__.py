"""An audit as a document for other programs: SARIF and CSV. `Audit.to_dict` is the JSON."""
