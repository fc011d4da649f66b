"""What stands on a version, and what a version stands on."""
