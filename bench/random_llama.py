"""Write a random Llama of a given width and depth as Hugging Face files. Runs in the converter's environment.

python random_llama.py TOKENIZER_FOLDER FOLDER WIDTH LAYERS
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
import transformers


def main(tokenizer: Path, folder: Path, width: int, layers: int) -> None:
    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=32_000,
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 128,
        dtype="bfloat16",
    )
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(tokenizer / name, folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
