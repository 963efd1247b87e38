"""Environments of their own for programs whose pins would fight with ours: vLLM, and the converter from Hugging Face files to GGUF."""
