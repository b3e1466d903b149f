"""The benchmark's own policies folder. Approval is automatic here, because nobody watches a benchmark."""

from __future__ import annotations

from pathlib import Path

import msgspec

TASK = "replayed"
_TEXT = """\
server: {{host: 127.0.0.1, port: 8080}}
providers:
  simulated: {{type: openai, base_url: "{teacher}", api_key: simulated, simulated: true}}
  students: {{type: classifier}}
prices:
  simulated:
    simulated-teacher-large:
      {{input: 2.50, output: 10.00, as_of: "2026-06-21", source: "simulated, priced like gpt-4o"}}
promotion:
  shadow: {{sample: 1.0, gates: [{{type: agreement, margin: 0.09}}]}}
  canary:
    share: 0.9
    reask_rate: 0.5
    gates: [{{type: agreement, margin: 0.04}}, {{type: latency, max_p95_ms: 5000}}]
policies:
  - {{name: cost_first, strategy: cascade}}
tasks:
  - name: {task}
    policy: cost_first
    teacher: {{provider: simulated, model: simulated-teacher-large, may_train_on_outputs: true}}
    capture: {{rate: 1.0, mask: false}}
    watch: {{reask_rate: 0.02, max_p95_latency_ms: 5000}}
    learn: {learn}
"""


def write(
    folder: Path, *, teacher_url: str, first: int, capture: int, target: float, encoder: Path | None
) -> Path:
    """``first`` captured calls make the first student, ``capture`` the second and last.

    The threshold is certified on captured calls, which are harder than the traffic once a student answers the easy
    ones: 94 % there has been 96 % and more of what is served (docs/experiments.md), and the figures say what it was.
    A copy serves nobody, so shadow asks for less (85 % refuted) than the step from canary to live (90 %). The
    teacher is a look-up: asking it twice to learn its ceiling would cost and say nothing.
    """
    learn = {
        "calibration": "crossfit",
        "provisional": True,
        "delta": 0.1,
        "ceiling_calls": 0,
        "max_calls": capture,
        "approval": "automatic",
        "target": target,
        "min_calls": first,
        "min_new_calls": first,
        **({"growth": capture / first} if capture > first else {}),
        **({"encoder": str(encoder)} if encoder else {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = _TEXT.format(teacher=teacher_url, task=TASK, learn=msgspec.json.encode(learn).decode())
    (folder / "all.yaml").write_text(text)
    return folder
