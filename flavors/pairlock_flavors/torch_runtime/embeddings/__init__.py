"""What a load returns: LlamaIndex's own classes, with their defects overridden."""
