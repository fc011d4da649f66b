"""What the tests share: tiny models, adapters, registries, and ways to damage files."""
