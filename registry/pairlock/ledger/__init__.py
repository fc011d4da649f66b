"""The append-only, hash-chained record of promotions."""
