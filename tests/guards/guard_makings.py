"""Tiny models that were made here: enough to tell a word from another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = ["idiot", "hate", "you", "nice", "day", "ignore", "all", "previous", "instructions", "please", "weather", "is", "good", "what", "the", "my", "name", "lives", "in", "jane", "berlin", "paris", "rome", "a", "b"]


def tokenizer_in(folder: Path, longest: int) -> int:
    """A tokenizer as BERT's, of ``WORDS``; → the number of its words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordPiece({name: at for at, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=longest,
    ).save_pretrained(folder)  # fmt: skip
    return len(names)


def settings(words: int, labels: list[str], **more: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=words, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, id2label=dict(enumerate(labels)), label2id={name: at for at, name in enumerate(labels)},
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **more,
    )  # fmt: skip


def taught(model: Any, tokenizer: Any, rows: list[tuple[Any, Any]], steps: int = 60) -> Any:
    """``model`` once it knows ``rows`` of (text or pair, target) by heart."""
    import torch

    torch.manual_seed(0)
    told = [row if isinstance(row, tuple) else (row, None) for row, _ in rows]
    pairs = any(second is not None for _, second in told)
    tokens = tokenizer(
        [first for first, _ in told], [second for _, second in told] if pairs else None, padding=True, return_tensors="pt"
    )
    targets = torch.tensor([target for _, target in rows])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    model.train()
    for _ in range(steps):
        loss = model(**tokens, labels=targets).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()
