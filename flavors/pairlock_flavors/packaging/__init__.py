"""Makes packages: from what a trainer saved, or a live object, to a proved folder."""
