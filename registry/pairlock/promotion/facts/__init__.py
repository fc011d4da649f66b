"""Finds out what plans and acts need to know. Nothing is written."""
