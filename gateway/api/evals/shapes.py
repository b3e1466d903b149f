"""What an eval and its runs may say, and what becomes of it: criteria as graders with a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway import errors
from gateway.protocol.body import typed
from optimizer.graders import LabelModel, Refused, ScoreModel, Single, TextSimilarity, doubts, refuse
from optimizer.graders.kinds import Turn

_Name = Annotated[str, Meta(max_length=256)]
_Model = Annotated[str, Meta(min_length=1, max_length=256)]
_Limit = Annotated[int, Meta(ge=1, le=50_000)]


class _Tagged(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True): ...


class Custom(_Tagged, frozen=True, tag="custom"):
    item_schema: dict[str, Any]
    include_sample_schema: bool = False


class Logs(_Tagged, frozen=True, tag="logs"):
    metadata: dict[str, str] | None = None


class Stored(_Tagged, frozen=True, tag="stored_completions"):
    """OpenAI's older word for ``logs``."""

    metadata: dict[str, str] | None = None


class EvalBody(Struct, frozen=True, forbid_unknown_fields=True):
    data_source_config: Custom | Logs | Stored
    testing_criteria: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=16)]
    name: _Name | None = None
    metadata: dict[str, str] | None = None


class EvalChanges(Struct, frozen=True, forbid_unknown_fields=True):
    name: _Name | None = None
    metadata: dict[str, str] | None = None


# ---------------------------------------------------------------- runs
class Content(Struct, frozen=True, forbid_unknown_fields=True):
    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContent(_Tagged, frozen=True, tag="file_content"):
    content: Annotated[list[Content], Meta(min_length=1)]


class FileId(_Tagged, frozen=True, tag="file_id"):
    id: str


class StoredRows(_Tagged, frozen=True, tag="stored_completions"):
    metadata: dict[str, str] | None = None
    model: str | None = None
    limit: _Limit | None = None
    created_after: int | None = None
    created_before: int | None = None


class ResponseRows(_Tagged, frozen=True, tag="responses"):
    """Stored responses by what their requests said; everything that is given must fit."""

    metadata: dict[str, str] | None = None
    model: str | None = None
    instructions_search: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    reasoning_effort: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[str] | None = None
    users: list[str] | None = None


class Template(_Tagged, frozen=True, tag="template"):
    template: Annotated[list[Turn], Meta(min_length=1, max_length=64)]


class Reference(_Tagged, frozen=True, tag="item_reference"):
    item_reference: Annotated[str, Meta(pattern=r"^item(\.[A-Za-z0-9_-]+)+$", max_length=256)]


class Sampling(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    reasoning_effort: str | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None


class ResponseSampling(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """In the words of the Responses API."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    reasoning_effort: str | None = None
    text: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None


class Jsonl(_Tagged, frozen=True, tag="jsonl"):
    source: FileContent | FileId


class Completions(_Tagged, frozen=True, tag="completions"):
    """Without a ``model`` what was stored is graded, and nothing is asked."""

    source: FileContent | FileId | StoredRows
    model: _Model | None = None
    input_messages: Template | Reference | None = None
    sampling_params: Sampling = Sampling()


class Responses(_Tagged, frozen=True, tag="responses"):
    """As ``Completions``, with stored responses for rows and the Responses API's parameters."""

    source: FileContent | FileId | ResponseRows
    model: _Model | None = None
    input_messages: Template | Reference | None = None
    sampling_params: ResponseSampling = ResponseSampling()


Sampled = Completions | Responses
"""Sources whose rows a model may be asked for."""


class RunBody(Struct, frozen=True, forbid_unknown_fields=True):
    data_source: Jsonl | Completions | Responses
    name: _Name | None = None
    metadata: dict[str, str] | None = None


# ---------------------------------------------------------------- what is kept
class Eval(Struct, frozen=True):
    """``config`` and ``criteria`` are as the client wrote them; times are unix seconds."""

    id: str
    project: str
    key_id: str
    created_at: float
    name: str
    config: dict[str, Any]
    criteria: list[dict[str, Any]]
    metadata: dict[str, str]


Status = Literal["queued", "in_progress", "completed", "failed", "canceled"]


class EvalRun(Struct, frozen=True):
    """``criteria``: by name, (passed, failed). ``usage``: by model, (asked, prompt, completion, cached) tokens."""

    id: str
    eval_id: str
    project: str
    key_id: str
    created_at: float
    name: str
    model: str
    data_source: dict[str, Any]
    metadata: dict[str, str]
    status: Status = "queued"
    error: dict[str, str] | None = None
    counts: dict[str, int] = {}
    criteria: dict[str, tuple[int, int]] = {}
    usage: dict[str, tuple[int, int, int, int]] = {}


class Criterion(Struct, frozen=True):
    name: str
    grader: Single
    threshold: float | None

    def passes(self, score: float) -> bool:
        """A score model without a threshold passes from the middle of its range on."""
        if isinstance(self.grader, ScoreModel) and self.threshold is None:
            return score >= sum(self.grader.range) / 2
        return score >= (1.0 if self.threshold is None else self.threshold)


class _One(Struct, frozen=True):
    testing_criteria: Single


def criteria_of(raw: Sequence[dict[str, Any]], *, encoder: bool) -> list[Criterion]:
    """Raises BadRequest for a criterion that cannot be run here, or would never give a score."""
    found: list[Criterion] = []
    for number, one in enumerate(raw):
        where = f"testing_criteria[{number}]"
        plain = {name: value for name, value in one.items() if name not in ("pass_threshold", "id")}
        grader = typed({"testing_criteria": plain}, _One).testing_criteria
        try:
            refuse(grader, encoder=encoder)
        except Refused as problem:
            code = "invalid_value" if problem.supported else "unsupported_value"
            param = problem.param.replace("grader", where, 1)
            raise errors.BadRequest(problem.message, param=param, code=code) from None
        for param, problem_text in doubts(grader):
            raise errors.BadRequest(problem_text, param=param.replace("grader", where, 1), code="invalid_grader")
        found.append(Criterion(grader.name, grader, _threshold(grader, one.get("pass_threshold"), where)))
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise errors.BadRequest("Two testing criteria have the same name.", param="testing_criteria")
    return found


def _threshold(grader: Single, said: Any, where: str) -> float | None:
    if said is None and not isinstance(grader, TextSimilarity):
        return None
    takes = isinstance(grader, TextSimilarity | ScoreModel)
    if not takes or isinstance(said, bool) or not isinstance(said, int | float):
        message = "'pass_threshold' must be a number, of a text_similarity or a score_model."
        raise errors.BadRequest(message, param=f"{where}.pass_threshold")
    return float(said)


def asks_models(criteria: Sequence[Criterion]) -> bool:
    return any(isinstance(one.grader, ScoreModel | LabelModel) for one in criteria)


# ---------------------------------------------------------------- what clients see
def shown_eval(one: Eval) -> dict[str, Any]:
    config = dict(one.config)
    if config["type"] == "custom":
        config = {"type": "custom", "schema": _schema(config["item_schema"], config.get("include_sample_schema"))}
    else:
        schema = _schema({"type": "object"}, True)
        config = {"type": config["type"], "metadata": config.get("metadata"), "schema": schema}
    return {
        "id": one.id, "object": "eval", "created_at": int(one.created_at), "name": one.name,
        "data_source_config": config, "testing_criteria": one.criteria, "metadata": one.metadata,
    }  # fmt: skip


def _schema(item: dict[str, Any], sample: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {"item": item} | ({"sample": {"type": "object"}} if sample else {})
    return {"type": "object", "properties": parts, "required": list(parts)}


def shown_run(one: EvalRun) -> dict[str, Any]:
    counts = {name: one.counts.get(name, 0) for name in ("total", "passed", "failed", "errored")}
    return {
        "id": one.id, "object": "eval.run", "eval_id": one.eval_id, "created_at": int(one.created_at),
        "name": one.name, "model": one.model, "status": one.status, "data_source": one.data_source,
        "error": one.error, "metadata": one.metadata, "result_counts": counts,
        "report_url": f"/v1/evals/{one.eval_id}/runs/{one.id}",
        "per_testing_criteria_results": [
            {"testing_criteria": name, "passed": passed, "failed": failed}
            for name, (passed, failed) in one.criteria.items()
        ],
        "per_model_usage": [
            {
                "model_name": model, "invocation_count": asked, "prompt_tokens": prompt, "completion_tokens": wrote,
                "cached_tokens": cached, "total_tokens": prompt + wrote,
            }
            for model, (asked, prompt, wrote, cached) in one.usage.items()
        ],
    }  # fmt: skip


def plain(value: Struct) -> dict[str, Any]:
    """As the client wrote it, its type included."""
    found: dict[str, Any] = msgspec.to_builtins(value)
    return found
