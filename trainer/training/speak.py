"""A model at work: greedy answers with each token's log-probability, and samples for on-policy lessons."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct

from trainer.training.bases import check
from trainer.training.generative import Generation, Generative, raw_score
from trainer.training.models import Speaker, grown, padded, quiet

_TOGETHER = 32


class Utterance(Struct, frozen=True):
    """An answer, its tokens (the end left out), the log-probability of each (the end's included), and whether it ended
    by itself."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool


def speak(speaker: Speaker, texts: Sequence[str], longest: int, *, sample: bool = False) -> list[Utterance]:
    """What the model answers each text with, at most ``longest`` tokens: the likeliest token each time, or with
    ``sample`` a draw from the model itself (temperature 1, nothing cut off)."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    found: dict[int, Utterance] = {}
    for start in range(0, len(order), _TOGETHER):
        these = order[start : start + _TOGETHER]
        said = _write_on(speaker, [speaker.prompt(texts[number]) for number in these], longest, sample=sample)
        found |= dict(zip(these, said, strict=True))
    return [found[number] for number in range(len(texts))]


def continue_prompts(speaker: Speaker, prompts: Sequence[str], longest: int) -> list[Utterance]:
    """What the model writes behind each prompt, which has its frame already; the likeliest token each time."""
    rows = [speaker.tokenizer.encode(prompt, add_special_tokens=False) for prompt in prompts]
    return _write_on(speaker, rows, longest, sample=False)


def _write_on(
    speaker: Speaker, rows: Sequence[Sequence[int]], longest: int, *, sample: bool
) -> list[Utterance]:
    tokenizer = speaker.tokenizer
    tokens, mask = padded(rows, tokenizer.pad_token_id)
    training = speaker.model.training
    speaker.model.eval()
    with torch.no_grad(), quiet(), speaker.autocast():
        out = speaker.model.generate(
            input_ids=tokens.to(speaker.device), attention_mask=mask.to(speaker.device), max_new_tokens=longest,
            do_sample=sample, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0, num_beams=1,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, use_cache=True,
            return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
    speaker.model.train(training)
    written = out.sequences[:, tokens.shape[1] :]
    logits = torch.stack(out.logits, dim=1).float()
    logs = torch.log_softmax(logits, -1).gather(-1, written[..., None])[..., 0]
    return [_utterance(tokenizer, ids, log) for ids, log in zip(written.tolist(), logs.tolist(), strict=True)]


def _utterance(tokenizer: Any, ids: list[int], logs: list[float]) -> Utterance:
    end = tokenizer.eos_token_id
    count = ids.index(end) if end in ids else len(ids)
    ended = count < len(ids)
    text = tokenizer.decode(ids[:count], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return Utterance(text, tuple(ids[:count]), tuple(logs[: count + ended]), ended)


def confidence(plan: Generation, said: Utterance) -> float:
    """How sure a student is of an answer, calibrated; 0 for one that did not come to its end."""
    return plan.calibration(raw_score(said.logprobs)) if said.ended else 0.0


@functools.lru_cache(maxsize=1)
def _grown(folder: Path, base: str, digest: str, adapt: str, changed: int) -> Speaker:
    found = check(Path(base))
    return grown(folder, found, adapt)  # type: ignore[arg-type]


def answers(model: Generative, texts: Sequence[str]) -> list[tuple[str, float]]:
    """(answer, confidence) of each text. The last model asked stays in memory. Raises CannotLoad or BaseRefused."""
    plan = model.plan
    changed = model.folder.stat().st_mtime_ns
    speaker = _grown(model.folder, plan.base, plan.base_digest, plan.adapt, changed)
    return [(said.text, confidence(plan, said)) for said in speak(speaker, texts, plan.max_new_tokens)]
