"""What keys, projects and tasks may use."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from gateway.config.values import Name, Node

Limited = Annotated[int, Meta(ge=1, le=10**12)]
Dollars = Annotated[float, Meta(gt=0, le=1_000_000)]


class Limits(Node, frozen=True):
    """What a scope may use; None is unlimited. Minutes slide; days and months are calendar ones in UTC."""

    requests_per_minute: Limited | None = None
    tokens_per_minute: Limited | None = None
    concurrency: Limited | None = None
    budget_usd_day: Dollars | None = None
    budget_usd_month: Dollars | None = None


YAML = "yaml:"
"""What the ids of keys that stand in the policies begin with."""


class YamlKey(Limits, frozen=True, kw_only=True):
    """A virtual key written into the configuration; unlimited unless it says otherwise."""

    name: Name
    key: str
    project: Name = "default"
    models: list[str] = []

    @property
    def id(self) -> str:
        """What the records call it."""
        return f"{YAML}{self.name}"


def yaml_name(key_id: str) -> str:
    """The name of a key of the policies by what the records call it, also when it is no longer there; "" for others."""
    return key_id.removeprefix(YAML) if key_id.startswith(YAML) else ""


class Alerts(Node, frozen=True):
    """A webhook that is told when a share of a budget is spent; ``secret`` signs what is sent."""

    webhook: str = ""
    secret: str = ""
    at: list[Annotated[float, Meta(gt=0, le=1)]] = field(default_factory=lambda: [0.5, 0.8, 1.0])


class LimitRules(Node, frozen=True):
    """Limits by project; a task's own stand beside the task."""

    projects: dict[Name, Limits] = {}
    alerts: Alerts = field(default_factory=Alerts)
