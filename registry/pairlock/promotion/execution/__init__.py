"""Does what plans say."""
