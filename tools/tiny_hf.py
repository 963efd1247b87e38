"""Make a tiny random model as Hugging Face has them: safetensors, config.json, a sentencepiece tokenizer, a chat template.

Runs in an environment that has transformers 4 or 5, the converter's or vLLM's; it also writes what transformers itself computes with the
model, to hold the converted file to: ``python tiny_hf.py FOLDER [CONTEXT]``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import transformers

VERSION = 1
"""Raise it when the model changes: it is part of its cache folder's name."""
WORDS = "the model reads a prompt of many tokens and writes an answer about rivers mountains engines and the weather in Paris or London"
TEMPLATE = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}assistant: "
PROMPT = "the weather in Paris is about many rivers and the engines of London"
REFERENCE = "reference.npz"


def train_tokenizer(folder: Path, random: np.random.Generator) -> None:
    """Llama's kind: sentencepiece, with a byte for every character that it does not know."""
    words = WORDS.split()
    sentences = [" ".join(random.permutation(words)[: random.integers(4, 12)]) for _ in range(2000)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        minloglevel=2,
    )


def main(folder: Path, context: int = 512) -> None:
    folder.mkdir(parents=True)
    torch.manual_seed(7)
    train_tokenizer(folder, np.random.default_rng(7))
    # transformers 5 makes an empty tokenizer of a bare vocabulary file, and reads a folder well
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=int(transformers.__version__.partition(".")[0]) > 4)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=context,
        initializer_range=0.1,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(folder, safe_serialization=True)
    tokens = tokenizer(PROMPT)["input_ids"]
    assert len(tokens) > 8, "the tokenizer does not encode"
    with torch.inference_mode():
        logprobs = torch.log_softmax(model(torch.tensor([tokens])).logits[0].float(), dim=-1)
    np.savez(folder / REFERENCE, tokens=np.array(tokens, np.int32), logprobs=logprobs.numpy())
    (folder / "prompt.txt").write_text(PROMPT)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
