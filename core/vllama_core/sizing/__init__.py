"""How much memory a model takes, and what to load it with: pure arithmetic over what headers say.

`gguf_shape` and `hf_shape` read headers into a `ModelShape`; `llama_cpp` and `vllm` say what an engine takes for given settings;
`choice` finds settings that fit; `plan` puts both into a verdict with ways out, and `report` writes it down. docs/sizing.md has the
formulas and how far off they were.
"""
