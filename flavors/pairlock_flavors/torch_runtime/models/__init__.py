"""Sentence-Transformers models: read from proved files, described, shared, and how they encode."""
