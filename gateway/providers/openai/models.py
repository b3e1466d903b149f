"""What those of OpenAI's models that think refuse of a chat request, which others take.

A limit has another name there, tokens are not drawn as a client says, and no stop sequence ends an answer: it is cut
here. https://platform.openai.com/docs/guides/reasoning
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from gateway.catalog import vendor
from gateway.providers.translate_request import Reader

_THINKING = re.compile(r"(?:ft:)?(?:o[1-9]|gpt-[5-9])(?!.*-(?:chat|search|audio|realtime|image|transcribe|tts))")
_DRAWING: dict[str, tuple[Any, ...]] = {
    "temperature": (1,), "top_p": (1,), "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},),
    "logprobs": (False,), "top_logprobs": (0,),
}  # fmt: skip
"""How tokens are drawn and told, with the values that ask for nothing."""
_KNOWN = 1024
"""Names of models come from clients too."""


@lru_cache(maxsize=_KNOWN)
def thinks(model: str) -> bool:
    """Whether a model of OpenAI's thinks, by its name."""
    return _THINKING.match(model) is not None


@lru_cache(maxsize=_KNOWN)
def _always(model: str) -> bool:
    """Whether it is known to have no effort ``none``, without which nothing is drawn as a client says."""
    known = vendor("openai")
    listed = known.models.models if known is not None and known.models is not None else {}
    name = model.removeprefix("ft:").partition(":")[0]
    found = next((one for key, one in listed.items() if name == key or name in one.also), None)
    return found is not None and "logprobs" not in found.capabilities


def fit_drawing(reader: Reader, wire: dict[str, Any], model: str) -> None:
    """Takes out of ``wire`` how tokens are drawn, where the model thinks. Raises AttemptFailed for a wish that would
    be lost. Which effort a model has unasked, its newest ones say differently: then OpenAI is left to judge."""
    effort = reader.body.get("reasoning_effort")
    if effort == "none" or (effort is None and not _always(model)):
        return
    for name, idle in _DRAWING.items():
        value = reader.body.get(name)
        if value is not None and value not in idle:
            reader.cannot(name, f"the model '{model[:80]}' thinks and draws its tokens by itself.")
        wire.pop(name, None)


def fit_chat(reader: Reader, wire: dict[str, Any], model: str) -> None:
    """Brings a chat request into the form that a model which thinks takes. Raises AttemptFailed."""
    fit_drawing(reader, wire, model)
    limit = wire.pop("max_tokens", None)
    if limit is not None:
        wire.setdefault("max_completion_tokens", limit)
    if wire.pop("stop", None) and wire.get("logprobs") and reader.stops():
        reader.cannot("stop", "log-probabilities are not cut at a stop sequence.")
