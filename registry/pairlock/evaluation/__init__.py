"""How well a version retrieves: datasets, measuring, and what was recorded."""
