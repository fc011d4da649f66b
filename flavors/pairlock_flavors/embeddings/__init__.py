"""What an embedding is to LlamaIndex, whichever runtime computes its vectors."""
