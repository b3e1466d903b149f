"""OpenAI's graders as they come over the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Title = Annotated[str, Meta(min_length=1, max_length=256)]
Text = Annotated[str, Meta(max_length=100_000)]
Label = Annotated[str, Meta(min_length=1, max_length=200)]
Metric = Literal[
    "cosine", "fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"
]  # fmt: skip


class _Tagged(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True): ...


class StringCheck(_Tagged, frozen=True, tag="string_check"):
    """1 or 0: ``input`` equals ``reference`` (``eq``), does not (``ne``), or contains it (``like``, ``ilike`` whatever
    the case)."""

    name: Title
    input: Text
    reference: Text
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(_Tagged, frozen=True, tag="text_similarity"):
    name: Title
    input: Text
    reference: Text
    evaluation_metric: Metric


class Python(_Tagged, frozen=True, tag="python"):
    """Understood so that it can be refused by name."""

    name: Title
    source: str
    image_tag: str | None = None


class InputText(_Tagged, frozen=True, tag="input_text"):
    text: Text


class OutputText(_Tagged, frozen=True, tag="output_text"):
    text: Text


class InputImage(_Tagged, frozen=True, tag="input_image"):
    image_url: str
    detail: Literal["low", "high", "auto"] | None = None


class Audio(Struct, frozen=True, forbid_unknown_fields=True):
    data: str
    format: Literal["mp3", "wav"]


class InputAudio(_Tagged, frozen=True, tag="input_audio"):
    input_audio: Audio


Part = Text | InputText | OutputText | InputImage | InputAudio


class Turn(Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: Part | Annotated[list[Part], Meta(min_length=1, max_length=64)]
    type: Literal["message"] = "message"


Turns = Annotated[list[Turn], Meta(min_length=1, max_length=64)]


class Sampling(Struct, frozen=True, forbid_unknown_fields=True):
    """``max_completions_tokens`` is OpenAI's spelling."""

    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_completions_tokens: Annotated[int, Meta(ge=1)] | None = None
    reasoning_effort: str | None = None


class ScoreModel(_Tagged, frozen=True, tag="score_model"):
    """A model says a number within ``range``, ends included."""

    name: Title
    model: Title
    input: Turns
    range: tuple[float, float] = (0.0, 1.0)
    sampling_params: Sampling = field(default_factory=Sampling)


class LabelModel(_Tagged, frozen=True, tag="label_model"):
    """A model chooses one of ``labels``: 1 when it is one of ``passing_labels``, else 0."""

    name: Title
    model: Title
    input: Turns
    labels: Annotated[list[Label], Meta(min_length=1, max_length=100)]
    passing_labels: Annotated[list[Label], Meta(min_length=1, max_length=100)]


ModelGrader = ScoreModel | LabelModel
Single = StringCheck | TextSimilarity | ScoreModel | LabelModel | Python


class Multi(_Tagged, frozen=True, tag="multi"):
    """``calculate_output`` over the scores of ``graders``, by their names here."""

    name: Title
    graders: Annotated[dict[Title, Single], Meta(min_length=1, max_length=16)]
    calculate_output: str


Grader = Single | Multi
