"""What stands on a version, and what a version stands on.

`graph` is the data, `building` makes it of an inventory, `targets` finds what was asked about,
`walking` goes up and down, `losing` says what breaks; these are rules. `drawing` and `mermaid`
write, and `tracing` reads the registry and the indexes. See `docs/lineage.md`.
"""
