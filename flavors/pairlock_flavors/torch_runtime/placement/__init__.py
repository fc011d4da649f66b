"""Where a model runs: what this machine has, what a model needs, and which of them fit."""
