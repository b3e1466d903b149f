"""What a client may order: the body of POST /v1/fine_tuning/jobs as an Order, or what to mend in it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from gateway import errors
from gateway.api.batches import metadata_in_batch
from gateway.config import Config
from gateway.context import Principal
from gateway.protocol.fine_tuning import Order, captured
from gateway.providers import ClassifierProvider

BUILT_IN = ("auto", "classifier", "extractor")
_KNOWN = frozenset(
    {
        "model", "training_file", "validation_file", "suffix", "seed", "metadata", "method", "hyperparameters",
        "integrations",
    }
)  # fmt: skip
_RANGES: dict[str, tuple[float, float]] = {
    "n_epochs": (1, 50),
    "batch_size": (1, 256),
    "learning_rate_multiplier": (1e-6, 1e6),
    "beta": (1e-9, 2),
}
_WHOLE = ("n_epochs", "batch_size")
_LONGEST_NAME, _LARGEST_SEED = 256, 2**31 - 1


def order_of(data: Mapping[str, Any], principal: Principal, config: Config) -> Order:
    """Raises BadRequest, or Unavailable when the operator has no place for jobs. Files are not looked at here."""
    _check_place(config)
    unknown = sorted(set(data) - _KNOWN)
    if unknown:
        name = unknown[0][:64]
        raise errors.BadRequest(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    if data.get("integrations"):
        raise errors.BadRequest(
            "'integrations' are not supported: this gateway sends nothing to third parties. Leave it out, and read "
            "the job's events and its result file.",
            param="integrations",
            code="unsupported_parameter",
        )
    model, training = _name(data, "model"), _name(data, "training_file")
    method, numbers = _method(data)
    _check_model(model, method, numbers, config)
    if method == "dpo" and captured(training) is not None:
        raise errors.BadRequest(
            "'dpo' learns from a file of preferences; captured calls hold one answer each.",
            param="training_file",
        )
    return Order(
        model=model, training_file=training, key_id=principal.key_id,
        method="dpo" if method == "dpo" else "supervised",
        validation_file=_name(data, "validation_file") if data.get("validation_file") is not None else None,
        suffix=_suffix(data.get("suffix")), seed=_seed(data.get("seed")),
        metadata=metadata_in_batch(data.get("metadata")), hyperparameters=numbers,
    )  # fmt: skip


def check_enabled(config: Config) -> None:
    """Raises Unavailable."""
    if not config.fine_tuning.enabled:
        raise errors.Unavailable(
            "Fine-tuning is switched off here. The gateway's operator can set 'fine_tuning: {enabled: true}'.",
            code="fine_tuning_disabled",
            headers={"x-should-retry": "false"},
        )


def _check_place(config: Config) -> None:
    check_enabled(config)
    if not any(isinstance(one, ClassifierProvider) for one in config.providers.values()):
        raise errors.Unavailable(
            "Nothing here could serve a fine-tuned model. The gateway's operator can add the provider "
            "'students: {type: classifier}'.",
            code="no_engine",
            headers={"x-should-retry": "false"},
        )


def _name(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if value is None:
        raise errors.BadRequest(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    if not isinstance(value, str) or not value or len(value) > _LONGEST_NAME:
        raise errors.BadRequest(f"'{name}' must be text of at most {_LONGEST_NAME} characters.", param=name)
    return value


def _method(data: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """The method's type and its numbers; the older top-level ``hyperparameters`` count where the method names none."""
    method = data.get("method") or {"type": "supervised"}
    if not isinstance(method, dict) or method.get("type") not in ("supervised", "dpo"):
        raise errors.BadRequest(
            "'method.type' must be 'supervised' or 'dpo'.", param="method.type", code="unsupported_value"
        )
    kind = str(method["type"])
    settings = method.get(kind) or {}
    given = settings.get("hyperparameters") if isinstance(settings, dict) else settings
    given = given if given is not None else data.get("hyperparameters") or {}
    if not isinstance(given, dict):
        raise errors.BadRequest("'hyperparameters' must be an object.", param="hyperparameters")
    return kind, {name: _number(name, value) for name, value in given.items() if value not in (None, "auto")}


def _number(name: str, value: Any) -> float:
    param = f"hyperparameters.{name[:64]}"
    if name not in _RANGES:
        raise errors.BadRequest(
            f"Unknown hyperparameter: '{name[:64]}'. Known are {', '.join(_RANGES)}.",
            param=param,
            code="unknown_parameter",
        )
    least, most = _RANGES[name]
    fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    if not fits or (name in _WHOLE and value != int(value)):
        kind = "a whole number" if name in _WHOLE else "a number"
        raise errors.BadRequest(f"'{name}' must be 'auto' or {kind} from {least:g} to {most:g}.", param=param)
    return float(value)


def _check_model(model: str, method: str, numbers: Mapping[str, float], config: Config) -> None:
    bases = config.fine_tuning.bases
    named = base_of(model, config)
    if model not in BUILT_IN and named is None:
        names = ", ".join(f"'{one}'" for one in (*BUILT_IN, *sorted(bases)))
        raise errors.BadRequest(
            f"The model '{model[:100]}' cannot be fine-tuned here. Name one of {names}. The gateway's operator adds "
            "language models under 'fine_tuning.bases'.",
            param="model",
            code="model_not_available",
        )
    if named is not None:
        return
    if method == "dpo":
        raise errors.BadRequest(
            f"'{model}' cannot learn from preferences; name a language model.", param="method.type"
        )
    if numbers:
        raise errors.BadRequest(
            f"'{model}' sets itself up: it takes no hyperparameters but 'auto'.",
            param=f"hyperparameters.{next(iter(numbers))}",
            code="unsupported_parameter",
        )


def base_of(model: str, config: Config) -> str | None:
    """The name under ``fine_tuning.bases`` of a model that was given by that name or by its folder or hub name."""
    bases = config.fine_tuning.bases
    return model if model in bases else next((name for name, one in bases.items() if one.base == model), None)


def _suffix(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not 1 <= len(value) <= 64):
        raise errors.BadRequest("'suffix' must be text of 1 to 64 characters.", param="suffix")
    return value


def _seed(value: Any) -> int:
    if value is None:
        return secrets.randbelow(_LARGEST_SEED)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_SEED:
        raise errors.BadRequest(f"'seed' must be a whole number from 0 to {_LARGEST_SEED}.", param="seed")
    return value
