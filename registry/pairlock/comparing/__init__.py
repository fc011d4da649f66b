"""How two versions differ.

`difference` is the data, `rules` makes it of what is known of two packages, `table` writes it for a
person; none of them does I/O. `sides` finds out, and `diffing` is what users call. See
`docs/lineage.md`.
"""
