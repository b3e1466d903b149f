"""Blank language models, made on the spot: a Llama with random weights and a byte-level tokenizer. For tests, and for
measuring what training costs where no model can be had; a blank model knows nothing."""

from __future__ import annotations

from pathlib import Path

import torch

_ALPHABET = 'the student answers what the teacher answered: queue network billing hardware access {}":,'
_HEAD = 64


def make(
    folder: Path,
    *,
    width: int = 128,
    layers: int = 2,
    vocabulary: int = 300,
    longest: int = 512,
    seed: int = 0,
) -> Path:
    """Writes config, tokenizer and safetensors into ``folder``; no chat template. ``vocabulary``: rows of the
    embedding; the tokenizer itself knows about 300 tokens. ``width``: a multiple of 64. Raises OSError."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([_ALPHABET] * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")  # noqa: S106
    config = LlamaConfig(
        vocab_size=max(len(fast), vocabulary), hidden_size=width,
        intermediate_size=width * (2 if width < 512 else 3),
        num_hidden_layers=layers, num_attention_heads=width // _HEAD, num_key_value_heads=width // _HEAD,
        max_position_embeddings=longest, tie_word_embeddings=False, pad_token_id=fast.pad_token_id,
        eos_token_id=fast.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(seed)
    from trainer.training.models import quiet

    with quiet():
        LlamaForCausalLM(config).save_pretrained(folder)
        fast.save_pretrained(folder)
    return folder
