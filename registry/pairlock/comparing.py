"""How two versions differ: files, base, encode settings, metrics, hints, spaces."""
