"""What this machine has for running models: the probes that look, each with a time limit. `vllama_core.detect` says what it means."""
