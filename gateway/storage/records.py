"""What the gateway appends to the spool: one tagged union, in msgpack. The ingester turns it into rows.

Times are unix seconds (float), latencies milliseconds, money US dollars. ``None`` money means "price unknown".
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

CallStatus = Literal["ok", "error", "client_closed", "upstream_cut"]
FOREIGN = "foreign"
"""The arm of a call that no client of this gateway sent."""
SYNTHETIC = "synthetic"
"""The key of such a call that learning made itself; its ``source`` begins with it."""
PairKind = Literal["shadow", "canary", "reask", "self"]


class Attempt(Struct, frozen=True):
    """One upstream try inside a call."""

    provider: str
    model: str
    role: str  # student | teacher | plain
    outcome: str  # ok | escalated | deferred | refused | failed | timeout | cancelled | invalid
    status: int
    latency_ms: float
    confidence: float | None = None
    variant: str = ""
    fields: dict[str, float] = {}
    """How sure a student was of each field of its answer."""


LATER_TURN = "turn_"
"""Begins the ids of later turns of the model for one request: calls of their own that are no request more."""


class CallText(Struct, frozen=True):
    """The capture of one call: JSON texts of the request body and of the (assembled) answer."""

    request: bytes
    answer: bytes
    visible: bool
    """Shown as a stored completion: the client said ``store: true``, or the task captures."""
    trainable: bool
    """The task opted in; only such calls ever reach a dataset."""
    mask: bool
    retention_days: int
    rejected: tuple[str, ...] = ()
    """Answers to the same request that were found worse."""


class CallRecord(Struct, frozen=True, tag="call"):
    """The ledger line of one call, with its capture when the task (or ``store: true``) asked for one."""

    id: str
    request_id: str
    created_at: float
    project: str
    key_id: str
    end_user: str
    session: str
    task: str  # "" when the call belongs to no task
    fingerprint: str
    model_asked: str
    provider: str  # who answered; "" when nobody did
    model: str
    student: str  # id of the student that answered, else ""
    status: CallStatus
    http_status: int
    error_code: str
    stream: bool
    latency_ms: float
    first_byte_ms: float | None
    overhead_ms: float
    attempts: list[Attempt]
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    tokens_estimated: bool
    cost_usd: float | None
    teacher_cost_usd: float | None
    """What the teacher would have cost (equals ``cost_usd`` when the teacher answered)."""
    confidence: float | None
    arm: str  # teacher | canary | live | plain | foreign
    propensity: float
    reason: str
    config_digest: str
    verdicts: list[str]
    metadata: dict[str, str]
    text: CallText | None = None
    endpoint: str = "chat"
    """The API the client spoke: chat, responses, messages, completions, embeddings, moderations, images, audio."""
    batch: str = ""
    """The batch this call was a line of; "" for live traffic."""
    drawn: str = ""
    """Who was put first, ``provider/model``: the choice that ``propensity`` belongs to, whoever answered then."""
    cache: str = ""
    """Which cache answered (hit: the exact one, semantic); "": none did."""
    source: str = ""
    """Where a call comes from that no client of this gateway sent: ``import:…`` or ``synthetic:…``. Such a call teaches
    and proves nothing: it calibrates nobody, is no evidence and is no call of the ledger. What a synthetic one cost
    is what learning cost its task."""
    prompt_cache_usd: float | None = 0.0
    """What the provider's own prompt cache took off ``cost_usd``; negative when it was only written so far, None when
    a price is unknown."""


class PairRecord(Struct, frozen=True, tag="pair"):
    """The teacher's and the student's answer to one input; ``kind`` says how the pair arose.

    shadow: the teacher served, the student answered a copy. canary / reask: the student served, the teacher was
    asked afterwards with ``propensity``. self: the teacher was asked twice (``student`` is "").
    """

    call_id: str
    kind: PairKind
    created_at: float
    project: str
    task: str
    fingerprint: str
    student: str
    epoch: int
    session: str
    answered: bool
    agree: bool
    confidence: float
    propensity: float
    student_latency_ms: float
    extra_cost_usd: float | None  # what this pair cost on top of the call itself
    teacher_text: str
    student_text: str
    mask: bool = True
    scores: dict[str, float] = {}
    """By scorer, for those that a promotion gate names."""
    slice: str = ""
    """Of the student's slices, the call's; "" when it has none."""
    principal: str = ""
    """Whose call it was: the end user under the key, or the key."""
    judge_usd: float = 0.0
    """What a judge of it cost; it is in ``extra_cost_usd`` as well."""


class VoteRecord(Struct, frozen=True, tag="vote"):
    """What several teachers said of a call: the answer most of them agree on, and their share of ``votes``. ``asked``
    is there so that both are masked together."""

    call_id: str
    project: str
    task: str
    at: float
    asked: str
    label: str
    share: float
    votes: int
    extra_cost_usd: float | None
    mask: bool = True
    judged: bool = False
    """Whether a judge chose the label, because no answer had more than half of the votes."""


class MetadataRecord(Struct, frozen=True, tag="metadata"):
    """A stored completion's metadata was replaced; ``feedback.*`` keys are also kept in the feedback log."""

    call_id: str
    project: str
    actor: str
    at: float
    metadata: dict[str, str]


class FeedbackRecord(Struct, frozen=True, tag="feedback"):
    """What a client thinks of one call, or of all calls of a session recorded before it (then ``call_id`` is "").

    ``score`` in [0, 1] goes to the call's metadata as ``feedback.score`` and to the log; ``texts`` (correction,
    demonstration, comment) go to the log alone, masked, and only where the call's own text is kept."""

    call_id: str
    session: str
    project: str
    actor: str
    at: float
    score: float | None
    texts: dict[str, str] = {}


class DeletionRecord(Struct, frozen=True, tag="deletion"):
    """A stored completion was deleted: its text goes, its ledger line stays."""

    call_id: str
    project: str
    actor: str
    at: float


class DemotionRecord(Struct, frozen=True, tag="demotion"):
    """The gateway took traffic back from a student at ``epoch``. ``to``: retired, or paused (stage kept)."""

    student: str
    epoch: int
    at: float
    to: Literal["retired", "paused"]
    actor: str
    reason: str
    numbers: dict[str, float]
    retrain: bool


class WishRecord(Struct, frozen=True, tag="wish"):
    """What a person asked of the trainer on the admin page (only the trainer promotes)."""

    student: str
    action: Literal["promote", "resume", "retrain"]
    actor: str
    reason: str
    at: float


class SwitchRecord(Struct, frozen=True, tag="switch"):
    """The one switch that turns every student off (or allows them again)."""

    students_off: bool
    actor: str
    reason: str
    at: float


class AuditRecord(Struct, frozen=True, tag="audit"):
    """Something worth an audit line that changes no row by itself (login, failed login, reload)."""

    actor: str
    action: str
    subject: str
    reason: str
    at: float


STATE_TTL_S = 30 * 86_400.0
"""How long what clients keep here is kept."""


class ClientStateRecord(Struct, frozen=True, tag="client_state"):
    """What a client may read or continue later (a stored response, a conversation). It is the client's, and nobody
    learns from it.

    ``sealed`` is the whole document under the spool's key, so that the database never holds it readable; empty
    when a full disk left no room for it.
    """

    id: str
    project: str
    kind: str  # response | conversation
    created_at: float
    expires_at: float
    sealed: bytes
    end_user: str = ""
    """Whose it is, as far as the client said; it goes with everything else of theirs (``storage/erasures.py``)."""


class StateDeletionRecord(Struct, frozen=True, tag="state_deletion"):
    """A client deleted what was kept for it."""

    id: str
    project: str
    at: float


class IncidentRecord(Struct, frozen=True, tag="incident"):
    """What a guardrail found in a call. ``sample`` is masked before it comes here; ``direction`` is a
    ``gateway.guardrails.Place``."""

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
    late: bool = False
    """Found after the call had been recorded: the verdict is added to the call's."""


def spelled(guardrail: str, action: str, shadow: bool) -> str:
    """A verdict as it stands on its call."""
    return f"{guardrail}:{action}" + (":shadow" if shadow else "")


SpoolRecord = (
    CallRecord
    | PairRecord
    | VoteRecord
    | MetadataRecord
    | FeedbackRecord
    | DeletionRecord
    | DemotionRecord
    | WishRecord
    | SwitchRecord
    | AuditRecord
    | ClientStateRecord
    | StateDeletionRecord
    | IncidentRecord
)

encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(SpoolRecord).decode
