"""Runs packages without torch: onnxruntime, tokenizers and numpy."""
