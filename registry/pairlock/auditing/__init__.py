"""Finds what is wrong in a registry, or is going to be."""
