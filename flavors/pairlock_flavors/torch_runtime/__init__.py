"""The torch runtime: packages to LlamaIndex embeddings, by Sentence-Transformers and torch."""
