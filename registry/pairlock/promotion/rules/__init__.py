"""What follows from what is known: plans, gates, aliases. No I/O."""
