"""How a task is captured, learnt, promoted and watched."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import Meta, field

from gateway.config.models import CandidateRef
from gateway.config.values import Count, Name, Node, OpenShare, Positive, Share
from optimizer.gates import GateSettings
from optimizer.gates.agreement import Agreement
from optimizer.gates.cost import Cost
from optimizer.gates.latency import Latency
from optimizer.gates.quality import Quality
from optimizer.gates.safety import Safety
from optimizer.gates.score import Score
from optimizer.scorers import Comparison, ScorerName
from optimizer.slices import Slice


class Teacher(Node, frozen=True):
    """``may_train_on_outputs`` is the operator's word that the provider's terms allow it for this use."""

    provider: Name
    model: str
    may_train_on_outputs: bool = False


class Match(Node, frozen=True):
    """How a client that keeps sending a plain model name reaches a task: every given field must match."""

    model: str
    system_prefix: str | None = None
    fingerprint: str | None = None


class Capture(Node, frozen=True):
    rate: Share = 1.0
    mask: bool = True
    logprobs: Annotated[int, Meta(ge=0, le=20)] = 0
    """How many of the teacher's likeliest tokens to ask for and to keep with each answer; the client sees none."""
    retention_days: Annotated[int, Meta(ge=1)] = 30


class Discover(Node, frozen=True):
    """Capture of calls that no task claims, always masked, so that tasks can be found in them (docs/discovery.md)."""

    rate: Share = 0.1
    retention_days: Annotated[int, Meta(ge=1)] = 14


class Distillation(Node, frozen=True):
    """Token-level distillation. ``teacher``: the folder of a local model with the student's tokenizer; "": the
    ``top_logprobs`` that were captured (``capture.logprobs``)."""

    teacher: str = ""
    divergence: Literal["forward_kl", "reverse_kl", "js"] = "forward_kl"
    beta: OpenShare = 0.5
    """Where the generalised Jensen–Shannon divergence stands between forward (to 0) and reverse (to 1) KL."""
    answer_weight: Share = 0.0
    """Weight of the plain answer's cross-entropy beside the divergence."""
    on_policy: Share = 0.0
    """Share of the steps on answers the student itself wrote; a local teacher scores them."""


class Preferences(Node, frozen=True):
    """``loss``: ``dpo`` (logistic) or ``ipo`` (squared); ``beta`` holds the student to where it started."""

    loss: Literal["dpo", "ipo"] = "dpo"
    beta: Annotated[float, Meta(gt=0)] = 0.1


class Generative(Node, frozen=True):
    """How ``sft``, ``distill`` and ``dpo`` train a causal language model."""

    base: str
    """The folder of the model; with ``download: true`` a hub name is allowed too."""
    download: bool = False
    adapt: Literal["lora", "qlora", "full"] = "lora"
    rank: Annotated[int, Meta(ge=1, le=512)] = 16
    epochs: Annotated[int, Meta(ge=1, le=1000)] = 3
    learning_rate: Positive | None = None
    """None: a rule of thumb from the model's width, ten times as much for an adapter."""
    batch_tokens: Annotated[int, Meta(ge=16)] = 8192
    max_length: Annotated[int, Meta(ge=16)] = 1024
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    checkpoint_gradients: bool = True
    processes: Annotated[int, Meta(ge=1, le=64)] = 1
    """Processes that train one student together, on this machine or on the cluster: as many as there are accelerators,
    or a few on CPUs."""
    patience: Annotated[int, Meta(ge=1)] = 2
    """Epochs without a better validation loss before training stops."""
    max_hours: Positive = 24.0
    distillation: Distillation = field(default_factory=Distillation)
    preferences: Preferences = field(default_factory=Preferences)


class Cluster(Node, frozen=True):
    """A Ray cluster that curates, and trains language models, in the place of the trainer's machine, which must be one
    of the cluster's."""

    address: Annotated[str, Meta(pattern=r"^[^/\s]+:[0-9]{1,5}$")]
    """``host:port`` of its head, as ``ray start`` tells it."""


class FineTune(Node, frozen=True):
    """Training of ``learn.encoder`` itself, for classifiers and extractors. Needs torch where the trainer runs."""

    epochs: Annotated[int, Meta(ge=1, le=100)] = 5
    learning_rate: Positive = 2e-4
    batch: Annotated[int, Meta(ge=1, le=512)] = 16
    patience: Annotated[int, Meta(ge=1)] = 2
    """Epochs without a better validation loss before training stops."""
    max_hours: Positive = 24.0


class Search(Node, frozen=True):
    """Hyper-parameters tried before a student is settled on; each trial is a whole training (docs/students.md)."""

    trials: Annotated[int, Meta(ge=1, le=500)] = 20
    max_minutes: Positive = 30.0
    budget_usd: Positive | None = None
    usd_per_hour: Annotated[float, Meta(ge=0)] = 0.0
    """What an hour of the machine that trains costs."""


class Candidates(Node, frozen=True):
    """Several students trained in one round: each recipe that can do the task, then classifiers and extractors that
    look at other features. Those that answer most of the calibration calls go on (docs/statistics.md)."""

    most: Annotated[int, Meta(ge=2, le=8)] = 3
    together: Annotated[int, Meta(ge=1, le=8)] = 1
    """How many of them go into shadow side by side, and share ``alpha``; the first that passes the gates stays."""
    max_hours: Positive = 24.0
    """After so long no further one is begun; the first always is."""


Language = Literal[
    "ar", "de", "el", "en", "es", "fr", "he", "hi", "it", "ja", "ko", "nl", "pt", "ru", "th", "zh"
]  # fmt: skip
"""Those that can be told apart without a model."""


class Curation(Node, frozen=True):
    """What a call must be to teach (docs/datasets.md)."""

    least_quality: Annotated[float, Meta(ge=0, le=10)] = 8.0
    """Out of ten; an answer that nobody rated stays."""
    languages: list[Language] = field(default_factory=list)
    """ISO 639-1 codes of the inputs that teach; empty: any."""
    contradictions: Literal["majority", "drop"] = "majority"
    """Which answer teaches when equal inputs had different ones."""
    cluster_cap: Annotated[int, Meta(ge=1)] = 20
    """Rows of one cluster of near-identical inputs, however often and by whomever it was sent."""
    balance: Annotated[float, Meta(ge=1)] | None = 20.0
    """How many times the median answer's rows one answer of a closed set may have; None: any number."""


class FineTuning(Node, frozen=True):
    """``POST /v1/fine_tuning/jobs``. ``bases``: the language models that a job may name, by the name it uses for them;
    no client can make the trainer load another folder."""

    enabled: bool = True
    bases: dict[Name, Generative] = {}
    encoder: str | None = None
    """A sentence encoder, by folder or name (docs/students.md), for graders that measure ``cosine``."""
    open_per_project: Annotated[int, Meta(ge=1)] = 10


class EnsembleJudge(Node, frozen=True):
    """Who chooses among the answers of several teachers where none has more than half of the votes: two at a time,
    each pair in both orders, without knowing whose they are. Paid for by the ensemble's budget."""

    provider: Name
    model: str
    max_chars: Annotated[int, Meta(ge=200)] = 12_000
    """Of the input and of each answer, what the judge is shown; longer calls keep the vote."""


class Ensemble(Node, frozen=True):
    """Several teachers for one task: ``rate`` of what its teacher answered is asked of these as well, and the answer
    most of them agree on is what students learn, weighted by how many agreed."""

    teachers: Annotated[list[CandidateRef], Meta(min_length=1, max_length=8)]
    budget_usd_day: Positive
    """What a day (UTC) of asking may cost, over all gateways that share a database."""
    rate: OpenShare = 0.2
    judge: EnsembleJudge | None = None
    """None: the most votes decide, and the teacher's answer at a tie."""


class Synthetic(Node, frozen=True):
    """The teacher writes inputs for answers, and declared slices, with fewer than ``per_answer`` captured calls, and
    answers them. They teach and prove nothing."""

    per_answer: Annotated[int, Meta(ge=1, le=1000)]
    max_calls: Annotated[int, Meta(ge=1)]
    """Synthetic calls of the task in all, in each project."""
    budget_usd_day: Positive
    """What a day (UTC) of asking may cost, the writing of inputs included."""


class Learn(Node, frozen=True):
    """How a task learns. ``target``/``margin``/``alpha``/``delta`` are defined in ARCHITECTURE.md, "Statistics".

    ``min_calls`` captured calls start the first training; after that a retrain waits for ``min_new_calls``.
    """

    recipes: Literal["auto"] | list[Literal["classifier", "extractor", "sft", "distill", "dpo"]] = "auto"
    """``auto``: the cheapest that can do it; ``sft`` last, and only when ``generative`` names a base."""
    candidates: Candidates | None = None
    """None: one student a round, by the first recipe that can do the task."""
    generative: Generative | None = None
    curation: Curation = field(default_factory=Curation)
    calibration: Literal["split", "crossfit"] = "split"
    """``split`` keeps a quarter of the calls away from training to choose the threshold; ``crossfit`` trains on
    them too and chooses it from predictions by models that never saw the call."""
    provisional: bool = False
    """While the calls are too few to certify a threshold, a student may go into shadow with one that they only
    suggest. It is then proven by the gates alone: target − margin with alpha, and no certified target."""
    encoder: str | None = None
    """A sentence encoder, by folder or name (docs/students.md); None: nothing but the calls themselves is used."""
    fine_tune: FineTune | None = None
    """Train the encoder's own layers as well; None: its vectors are features and no more."""
    incremental: bool = False
    """Whether a successor begins with the live student's weights where it has the same base (adapters, whole language
    models, encoders that are trained). A linear student ends at the same optimum wherever it begins."""
    search: Search | None = None
    """None: each recipe's own settings."""
    features: Literal["auto", "tfidf", "embedding", "both"] = "auto"
    """What a classifier or an extractor looks at; ``auto``: both when there is an encoder, else ``tfidf``."""
    target: OpenShare = 0.95
    margin: OpenShare = 0.02
    alpha: OpenShare = 0.05
    delta: OpenShare = 0.05
    errors: Literal["family", "discovery"] = "family"
    """What ``alpha`` bounds over all trainings of the task: the chance of ever promoting a bad student, or, less
    strictly, the share of bad ones among the promoted."""
    approval: Literal["manual", "automatic"] = "manual"
    min_calls: Annotated[int, Meta(ge=50)] = 1000
    min_new_calls: Annotated[int, Meta(ge=1)] = 500
    growth: Annotated[float, Meta(gt=1)] | None = None
    """A successor is trained once the captured calls have grown by this factor since the last run; None: only
    when one is asked for. The old student serves until its successor has passed the same gates."""
    max_calls: Annotated[int, Meta(ge=100)] = 50_000
    ceiling_rate: Share = 0.02
    """Share of the teacher's answers that are asked of the teacher twice, to measure its self-agreement."""
    ceiling_calls: Count = 300
    comparison: Comparison = "exact"
    ensemble: Ensemble | None = None
    synthetic: Synthetic | None = None
    corrections: bool = False
    """Whether a client's correction takes the place of the teacher's answer in training, calibration and screening
    (docs/datasets.md). A student that learnt them is to be judged by the gate ``truth``."""
    grounded: bool = False
    """Every answer is to be drawn from what stands in its request: then it can be held against it."""
    slices: list[Slice] = []
    """Parts of the traffic that are judged, and if need be left with the teacher, each by itself."""
    found_slices: Annotated[int, Meta(ge=2, le=20)] | None = None
    """So many clusters of inputs, at most, are found when a student is trained, and are slices of it besides."""
    seed: int = 0
    erased: Literal["retrain", "retire", "keep"] = "retrain"
    """What follows when somebody's rows are erased from a student's dataset (docs/erasure.md): a successor is trained
    without them and the student serves until then, it is retired at once, or it is only marked."""


Measured = Literal["inputs", "outputs", "confidence", "latency", "cost"]


class Trainer(Node, frozen=True):
    """``max_memory_bytes``: what a process that trains or looks for tasks may use; None: three quarters of what the
    machine, or its container, has."""

    max_memory_bytes: Annotated[int, Meta(ge=128 * 1024 * 1024)] | None = None


class Drift(Node, frozen=True):
    """The watch over what agreement does not show (docs/statistics.md). Inputs, outputs and confidence: whether recent
    calls can be told from those before the student more often than half of the time + ``margin``, with a false alarm
    in ``average_run_length`` rounds at most. Latency and cost: a rise of the mean by ``least_rise``, with a false alarm
    of probability ``delta`` at each look."""

    measures: list[Measured] = field(default_factory=lambda: list(get_args(Measured)))
    margin: Annotated[float, Meta(gt=0, lt=0.5)] = 0.1
    average_run_length: Annotated[int, Meta(ge=100)] = 10_000
    delta: OpenShare = 0.002
    least_rise: Annotated[float, Meta(ge=0)] = 0.2
    on_alarm: Literal["alert", "retrain"] = "alert"
    """``retrain``: changed inputs, outputs or confidence also ask for a successor."""


class Watch(Node, frozen=True):
    """``average_run_length``: re-asked calls between false alarms, at least, while agreement holds."""

    reask_rate: OpenShare = 0.03
    average_run_length: Annotated[int, Meta(ge=100)] = 10_000
    max_error_rate: Share = 0.05
    max_p95_latency_ms: Positive = 1000.0
    max_cost_share: Positive = 1.0
    """What a student's recent answers may cost, re-asks included, as a share of the teacher's price for them."""
    retiring_days: Count = 60
    """How long before the teacher's ``shutdown_date`` recording and training begin in earnest."""
    drift: Drift = field(default_factory=Drift)


class Judge(Node, frozen=True):
    """Who compares a student's answers with its teacher's (docs/statistics.md, "Is it as good"). ``sample``: share of
    the compared calls that are judged; each is judged twice. ``usd_per_day``: what a day (UTC) of it may
    cost a task, over all gateways that share a database."""

    provider: Name
    model: str
    sample: OpenShare = 0.25
    usd_per_day: Positive = 1.0
    max_chars: Annotated[int, Meta(ge=200)] = 12_000
    """Of the input and of each answer, what the judge is shown; longer calls are not judged."""


USUAL_GATES: tuple[GateSettings, ...] = (
    Agreement(),
    Score(scorer="folded", at_least=0.80),
    Score(scorer="token_f1", at_least=0.85),
    Quality(),
    Safety(event="toxicity", at_most=0.005, per_slice="watch"),
    Safety(event="pii", at_most=0.005, per_slice="watch"),
    Safety(event="hallucination", at_most=0.01, per_slice="watch"),
    Latency(per_slice="watch"),
    Cost(per_slice="watch"),
)


class ShadowRules(Node, frozen=True):
    """``sample``: share of the answered calls that are copied to the students in shadow: to all of them or to none."""

    sample: Share = 1.0
    usd_per_day: Positive | None = None
    """What a day (UTC) of copies may cost a task, over all its students in shadow and all gateways that share a
    database: their own time, and the teacher where it is asked again for a live student's call. None: any amount."""
    gates: list[GateSettings] = field(default_factory=lambda: list(USUAL_GATES))


class CanaryRules(Node, frozen=True):
    """``share`` of the eligible calls is served at first; it grows with the evidence up to ``most``. ``reask_rate`` of
    the answered ones is asked of the teacher. A ``most`` below ``share`` means that it does not grow."""

    share: OpenShare = 0.05
    most: OpenShare = 0.5
    reask_rate: OpenShare = 0.5
    gates: list[GateSettings] = field(default_factory=lambda: list(USUAL_GATES))


class Promotion(Node, frozen=True):
    shadow: ShadowRules = field(default_factory=ShadowRules)
    canary: CanaryRules = field(default_factory=CanaryRules)
    judge: Judge | None = None

    @property
    def scorers(self) -> tuple[ScorerName, ...]:
        """Those that a gate of any stage rests on, but for the judge, whom not every call meets."""
        gates = (*self.shadow.gates, *self.canary.gates)
        named: list[ScorerName] = [gate.scorer for gate in gates if isinstance(gate, Score | Safety)]
        if any(isinstance(gate, Cost) for gate in gates):
            named.append("thrift")
        return tuple(dict.fromkeys(name for name in named if name != "judge"))
