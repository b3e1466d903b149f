"""The policies of a run, as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.simulator.clients import key_of
from benchmarks.simulator.script import PROJECTS, Script

BUDGET_USD = 0.006
"""What the project ``poor`` may spend in all; a call costs a twentieth of a cent to a tenth."""
_PRICE = "input: 1.0, output: 10.0, as_of: '2026-01-01', source: simulator"


def write_policies(folder: Path, script: Script, urls: Mapping[str, str], keep_bytes: int = 2**26) -> Path:
    """``urls``: of the providers, by name; ``keep_bytes``: what the cache, and what is repeated under a key, may take
    each."""
    folder.mkdir()
    providers = "".join(
        f'  {name}: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret-{name}}}\n'
        for name, url in urls.items()
    )
    prices = "".join(f"  {name}: {{m: {{{_PRICE}}}}}\n" for name in urls)
    keys = "".join(f"  - {{name: {name}, key: {key_of(name)}, project: {name}}}\n" for name in PROJECTS)
    (folder / "gateway.yaml").write_text(
        f"providers:\n{providers}prices:\n{prices}keys:\n{keys}"
        "timeouts: {connect: 0.4, first_byte: 0.3, chunk_gap: 0.25, total: 1.5}\n"
        "retries: {attempts: 3, base_s: 0.01, cap_s: 0.05}\n"
        "server: {header_timeout_s: 30, body_timeout_s: 30, shutdown_s: 1.0}\n"
        "upstreams: {b: {max_concurrent: 4, max_queue: 6}}\n"
        f"limits: {{projects: {{poor: {{budget_usd_day: {BUDGET_USD}}}, red: {{concurrency: 6}}}}}}\n"
        "surface: {embeddings: a}\n"
        f"spool: {{ack: {'durable' if script.durable else 'written'}, segment_bytes: 8192}}\n"
        f"cache: {{enabled: {str(script.cache).lower()}, max_bytes: {keep_bytes}}}\n"
        f"idempotency: {{max_bytes: {keep_bytes}}}\n"
    )
    hedge = ", hedge: {after_ms: 80, budget_share: 0.5}" if script.hedges else ""
    (folder / "routing.yaml").write_text(
        f"policies:\n  - {{name: both, candidates: [{{provider: a, model: m}}, {{provider: b, model: m}}]{hedge}}}\n"
        "tasks:\n  - {name: work, policy: both, capture: {rate: 1.0}}\n"
    )
    (folder / "safety.yaml").write_text(
        "guardrails: {personal-data: {type: pii, action: mask}}\n" if script.masks else "guardrails: {}\n"
    )
    return folder
