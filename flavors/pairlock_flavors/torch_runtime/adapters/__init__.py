"""What stands on a base: LlamaIndex's layers, classes of other packages, and PEFT's adapters."""
