"""Benchmarks against llama.cpp's own server, Ollama and the bare decode loop. Run `python -m bench --list`; see BENCHMARKS.md."""
