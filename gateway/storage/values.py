"""Values that come out of storage: keys, runs, datasets, pairs, the journal. Frozen, all of them."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from msgspec import Struct

from gateway.storage.records import Attempt
from optimizer.rollout import Student

T = TypeVar("T")
RunState = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]


# ---------------------------------------------------------------- values
class Key(Struct, frozen=True):
    """A virtual key as it is stored: its SHA-256, never its text. ``models`` empty means all.

    A rotated key keeps its id, and so its limits and what it has spent; the digest it had before is accepted
    until ``previous_until``.
    """

    id: str
    name: str
    project: str
    digest: str
    hint: str  # prefix and last four characters, for people
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    requests_per_minute: int | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    budget_usd_day: float | None = None
    budget_usd_month: float | None = None
    previous_digest: str | None = None
    previous_until: float | None = None


class Snapshot(Struct, frozen=True):
    """What the hot path needs from the database; replaced whole when ``generation`` changes."""

    generation: int
    keys: tuple[Key, ...]
    students: tuple[Student, ...]  # every student that is not retired
    students_off: bool


class StoredCompletion(Struct, frozen=True):
    """A captured call as the API shows it (texts masked)."""

    id: str
    project: str
    created_at: float
    model: str  # as the client asked
    request: dict[str, Any]
    answer: dict[str, Any]
    metadata: dict[str, str]


class Run(Struct, frozen=True):
    """A durable job. ``progress`` in [0, 1]; ``heartbeat_at`` is fresh while its worker lives."""

    id: str
    kind: str  # train | fine_tune
    project: str
    task: str
    fingerprint: str
    state: RunState
    attempt: int
    params: dict[str, Any]
    result: dict[str, Any]
    error: str
    progress: float
    step: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    heartbeat_at: float | None
    cancel_requested: bool
    priority: int = 0
    """Of the runs that wait, those with more go first."""


class TrainingTime(Struct, frozen=True):
    """What the runs of a task took, by the recipe that they came to ("" while none is known): seconds, and of CPU."""

    project: str
    task: str
    recipe: str
    seconds: float
    cpu_seconds: float


class RunEvent(Struct, frozen=True):
    run_id: str
    seq: int
    at: float
    level: Literal["info", "warn", "error"]
    message: str
    data: dict[str, Any]


class Dataset(Struct, frozen=True):
    """An immutable, content-addressed dataset version: ``digest`` names its folder under ``datasets/``."""

    digest: str
    project: str
    task: str
    fingerprint: str
    version: int
    created_at: float
    card: dict[str, Any]


class TokenThought(Struct, frozen=True):
    """One token of an answer, as bytes, and the likeliest tokens there with their log-probabilities."""

    token: bytes
    top: tuple[tuple[bytes, float], ...]


class TrainingCall(Struct, frozen=True):
    """One captured call as the trainer reads it: masked input, the teacher's answer, its group."""

    call_id: str
    created_at: float
    group: str
    key_id: str
    end_user: str
    session: str
    text: str  # last user text
    answer: str  # assistant text
    finish_reason: str
    completion_tokens: int
    metadata: dict[str, str]
    logprobs: tuple[TokenThought, ...] = ()
    """What the teacher thought of each token it wrote, where that was captured."""
    source: str = ""
    """Where it comes from when no client of this gateway sent it; such a call may teach and proves nothing."""
    rejected: tuple[str, ...] = ()
    """Answers to the same input that were found worse."""
    label: str = ""
    """What most of several teachers agreed on, and their share of ``votes``; "" when nobody else was asked."""
    label_share: float = 1.0
    votes: int = 0
    judged: bool = False
    """Whether a judge chose the label, because no answer had more than half of the votes."""


class Pair(Struct, frozen=True):
    """A row of evidence, in the order it was ingested (``seq``)."""

    seq: int
    call_id: str
    kind: str
    created_at: float
    student: str
    epoch: int
    session: str
    answered: bool
    agree: bool
    confidence: float
    propensity: float
    student_latency_ms: float
    extra_cost_usd: float | None
    teacher_text: str
    student_text: str
    scores: dict[str, float] = {}
    slice: str = ""
    principal: str = ""


class Wish(Struct, frozen=True):
    id: int
    student: str
    action: str
    actor: str
    reason: str
    at: float


class JournalEntry(Struct, frozen=True):
    """One line of the hash-chained log. ``hash`` = SHA-256 over ``prev`` and the canonical JSON of the rest."""

    epoch: int
    at: float
    kind: Literal["rollout", "admin", "key", "watch", "verdicts"]
    actor: str
    subject: str
    action: str
    reason: str
    detail: dict[str, Any]
    prev: str
    hash: str


STEP_S = 10
"""Seconds that one bucket of the ledger spans."""


class LedgerBucket(Struct, frozen=True):
    """Calls of one task and one answering party in one time bucket (seconds since epoch at its start)."""

    start: int
    project: str
    task: str
    party: str  # teacher | student | plain | cache
    calls: int
    errors: int
    cost_usd: float
    teacher_cost_usd: float
    unpriced: int
    extra_cost_usd: float  # re-asks and other learning costs charged against the savings
    prompt_tokens: int
    completion_tokens: int


class CostLine(Struct, frozen=True):
    """What one group of a project's calls cost. ``name``: a key's id, a task, an end user or a tag's value.
    ``unpriced`` calls were answered at an unknown price and are not in ``cost_usd``. ``prompt_cache_usd``: what
    providers' own prompt caches took off it. ``key_name``: of a key's line, what people call it."""

    project: str
    name: str
    calls: int
    errors: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float
    teacher_cost_usd: float
    unpriced: int
    prompt_cache_usd: float = 0.0
    key_name: str = ""


class PromptTokens(Struct, frozen=True):
    """Input of a task's calls that one provider's model answered, how much of it its prompt cache had, and what that
    took off their cost; None where the price of some is unknown."""

    task: str
    provider: str
    model: str
    calls: int
    prompt_tokens: int
    cached_tokens: int
    saved_usd: float | None


class Made(Struct, frozen=True):
    """Questions for a task's synthetic calls. ``kept``: those whose answer was kept, ever; ``tried``: all, by the part
    they were made for; ``today``, ``usd`` and ``unpriced``: their number, cost and how many have no price, of the
    day that was asked for."""

    kept: int
    tried: dict[str, int]
    today: int
    usd: float
    unpriced: int


class TaskVersion(Struct, frozen=True):
    """A (project, task, fingerprint) that was seen, with how many trainable calls it has."""

    project: str
    task: str
    fingerprint: str
    version: int
    first_seen: float
    trainable_calls: int


class PastCall(Struct, frozen=True):
    """A call whose first candidate was drawn by a strategy. ``drawn`` is ``provider/model``."""

    id: str
    created_at: float
    project: str
    key_id: str
    drawn: str
    propensity: float
    stream: bool
    status: str
    latency_ms: float
    cost_usd: float | None
    prompt_tokens: int
    completion_tokens: int
    attempts: list[Attempt]
    metadata: dict[str, str] = {}
    session: str = ""
    feedback: float | None = None
    """The last that was said of it, or of its session, in [0, 1]; None when nothing was."""


class Incident(Struct, frozen=True):
    """What a guardrail found. ``direction``: where the text stood; ``shadow``: nothing was done about it;
    ``sample``: the text's beginning, masked, "" once erased; ``sealed``: the journal's line that seals it, 0 until
    then. ``at`` is unix seconds."""

    id: int
    call_id: str
    at: float
    project: str
    key_id: str
    model_asked: str
    endpoint: str
    guardrail: str
    action: str
    direction: str
    shadow: bool
    sample: str
    sealed: int = 0
