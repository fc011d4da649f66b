"""Pairlock's MLflow flavor: `embedding` is the flavor, `loader` what MLflow writes into models."""
