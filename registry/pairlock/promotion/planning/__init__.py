"""Makes plans. Nothing is written."""
