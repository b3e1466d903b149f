"""Causal language models on their way in and out: loading, adapters, how text becomes tokens, what is written."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import torch

from trainer.training.bases import Base
from trainer.training.generative import ADAPTER_FILES, WHOLE_FILES, Adapt, Frame

Tensor = Any
Precision = Literal["auto", "bf16", "fp32"]


class Learns(Protocol):
    def trainable(self) -> list[tuple[str, Any]]: ...


class CannotLoad(Exception):
    """A model that was allowed could not be loaded; the text says why, for a person."""


@dataclass(slots=True)
class Speaker:
    """A model with its tokenizer. ``lm`` is the bare causal model, adapters inside; ``model`` what owns them."""

    model: Any
    lm: Any
    tokenizer: Any
    base: Base
    frame: Frame
    device: Any
    half: bool

    def prompt(self, text: str) -> list[int]:
        """The tokens an input is asked with, the turn of the assistant opened."""
        return list(self.tokenizer.encode(self.frame.around(text), add_special_tokens=False))

    def answer(self, text: str) -> list[int]:
        """The tokens of an answer, its end included."""
        return [*self.tokenizer.encode(text, add_special_tokens=False), self.tokenizer.eos_token_id]

    def autocast(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half)

    def trainable(self) -> list[tuple[str, Any]]:
        """The parameters that learn, by name, in a stable order."""
        return sorted((name, one) for name, one in self.model.named_parameters() if one.requires_grad)


def load(base: Base, precision: Precision = "fp32", *, quantised: bool = False) -> Speaker:
    """The model of a checked folder, on the accelerator when there is one. Raises CannotLoad."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    more: dict[str, Any] = {"quantization_config": _four_bits(half)} if quantised else {}
    with quiet():
        try:
            lm = AutoModelForCausalLM.from_pretrained(
                base.path, use_safetensors=True, trust_remote_code=False, local_files_only=True,
                dtype=torch.bfloat16 if half else torch.float32, attn_implementation="sdpa", **more,
            )  # fmt: skip
            tokenizer = AutoTokenizer.from_pretrained(
                base.path, use_fast=True, trust_remote_code=False, local_files_only=True
            )
        except Exception as problem:  # the libraries raise many kinds for a folder that does not fit together
            raise CannotLoad(
                f"the base cannot be loaded: {type(problem).__name__}: {problem}"[:300]
            ) from None
    if tokenizer.eos_token_id is None:
        raise CannotLoad("the base's tokenizer has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    lm.config.use_cache = False
    if quantised:
        _keep_learnable(lm)
    else:
        lm = lm.to(device)
    return Speaker(lm, lm, tokenizer, base, _frame(tokenizer), device, half)


def _frame(tokenizer: Any) -> Frame:
    """What the tokenizer's chat template puts around a user's turn, the assistant's turn opened. A template that does
    more to the turn than to frame it is not used."""
    mark = "understudy-asks-7f3a"
    if not tokenizer.chat_template:
        return Frame()
    try:
        turn = [{"role": "user", "content": mark}]
        said = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    except Exception:  # a template is somebody's program in a sandbox; whatever it raises, it frames nothing
        return Frame()
    before, found, after = said.partition(mark)
    return Frame(before, after) if found and mark not in after else Frame()


def _four_bits(half: bool) -> Any:
    """Four-bit NormalFloat with its constants quantised again (Dettmers et al., "QLoRA", 2023)."""
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        raise CannotLoad("adapt: qlora needs the package bitsandbytes: pip install 'understudy[qlora]'")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16 if half else torch.float32,
        bnb_4bit_use_double_quant=True,
    )


def _keep_learnable(lm: Any) -> None:
    """On some CPUs bitsandbytes packs a layer's weights for inference once it was asked outside of training, and no
    gradient passes through it from then on; each epoch ends with such a look."""
    for layer in lm.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def adapted(speaker: Speaker, adapt: Adapt, rank: int, seed: int) -> Speaker:
    """What will learn: low-rank adapters at every linear layer but the output (Hu et al., 2021; all layers as in
    Dettmers et al., "QLoRA", 2023), or every weight, in float32 either way."""
    torch.manual_seed(seed)
    if adapt == "full":
        speaker.lm = speaker.model = speaker.lm.float()
        return speaker
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if adapt == "qlora":
        speaker.lm = prepare_model_for_kbit_training(speaker.lm, use_gradient_checkpointing=False)
    settings = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with quiet():
        speaker.model = get_peft_model(speaker.lm, settings)
    for parameter in speaker.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return speaker


def write(speaker: Speaker, folder: Path, adapt: Adapt) -> None:
    """The learnt weights, as the files a student's artifact has. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with quiet():
        if adapt == "full":
            speaker.lm.config.use_cache = True
            speaker.lm.save_pretrained(folder, max_shard_size="1TB")
            speaker.tokenizer.save_pretrained(folder, save_jinja_files=False)
            speaker.lm.config.use_cache = False
        else:
            speaker.model.save_pretrained(folder)
            _settle(folder / ADAPTER_FILES[0])
    for entry in folder.iterdir():
        if entry.name not in (WHOLE_FILES if adapt == "full" else ADAPTER_FILES):
            entry.unlink()


def _settle(path: Path) -> None:
    """Gives the adapter's configuration one order: the library writes sets as they come."""
    found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    found["target_modules"] = sorted(found["target_modules"])
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found, order="sorted")))


def grown(folder: Path, base: Base, adapt: Adapt, precision: Precision = "fp32") -> Speaker:
    """A student as it serves: the adapter merged into its base, or the whole model. Raises CannotLoad."""
    if adapt == "full":
        from msgspec.structs import replace

        speaker = load(replace(base, path=str(folder)), precision)
    else:
        from peft import PeftModel

        speaker = load(base, precision)
        with quiet():
            merged = PeftModel.from_pretrained(speaker.lm, str(folder), is_trainable=False)
            speaker.lm = speaker.model = merged.merge_and_unload()
    speaker.lm.eval()
    return speaker


def carry_on(speaker: Speaker, folder: Path, adapt: Adapt) -> None:
    """Puts the weights of a student's files into a freshly adapted model of the same shape. Raises CannotLoad."""
    from safetensors.torch import load_file

    if adapt == "full":
        missing = speaker.lm.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    else:
        from peft import set_peft_model_state_dict

        missing = set_peft_model_state_dict(speaker.model, load_file(folder / ADAPTER_FILES[1]))
    if missing.unexpected_keys:
        raise CannotLoad("the predecessor's weights are not those of this base")


def learnt(speaker: Learns) -> dict[str, Tensor]:
    """Copies of the weights that learn."""
    return {name: one.detach().to("cpu", copy=True) for name, one in speaker.trainable()}


def put_back(speaker: Learns, weights: dict[str, Tensor]) -> None:
    """Raises KeyError when ``weights`` are another model's."""
    with torch.no_grad():
        for name, one in speaker.trainable():
            one.copy_(weights[name])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The libraries' bars and warnings are nobody's news."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging as theirs

    theirs.disable_progress_bar()
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(level)


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """(tokens, mask) of shape (rows, longest), filled up on the left, where generation wants it."""
    longest = max(map(len, rows))
    tokens = [[pad] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(tokens), torch.tensor(mask)
