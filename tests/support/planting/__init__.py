"""Registries with planted defects of every code an audit knows, and clean twins of each."""
