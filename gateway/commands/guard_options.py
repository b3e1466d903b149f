"""The options of ``understudy guards``."""

from __future__ import annotations

from pathlib import Path

from gateway.commands.parsing import Commands, add

REACHING, SPARING = 0.16, 0.02
"""``--elsewhere``: what 90 % of attacks take on the data in docs/guardrails.md, and what spares harmless role plays."""


def guard_commands(commands: Commands) -> None:
    example = "understudy guards train attacks.jsonl --out guards/attacks"
    guards = add(commands, "guards", "fit guardrails on your own examples", ("guards", "train"), example)
    actions = guards.add_subparsers(title="actions", metavar="ACTION", required=True)
    train = add(
        actions, "train", "fit the injection classifier on labelled JSON lines", ("guards", "train"),
        example, "understudy guards train attacks.jsonl.gz --half",
    )  # fmt: skip
    train.add_argument(
        "data", type=Path, metavar="DATA",
        help="a file or folder of *.jsonl or *.jsonl.gz with 'text' and 'attack' or 'toxic' (0 or 1), and perhaps"
        " 'group', 'family', 'source' and 'unsafe'",
    )  # fmt: skip
    where = train.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="DIR", help="where the fitted model is written")
    where.add_argument(
        "--half", action="store_true", help="write nothing: fit on half of the groups, test on the others"
    )
    train.add_argument(
        "--false-positives", type=float, default=0.02, metavar="SHARE",
        help="of benign look-alikes (family benign_hard_negative; where none are marked, of all benign texts) that may"
        " be stopped (default: %(default)s)",
    )  # fmt: skip
    train.add_argument(
        "--elsewhere", type=float, default=REACHING, metavar="SHARE",
        help="of the other benign texts that may be stopped, where look-alikes are marked (default: %(default)s, for"
        f" attacks that are told as stories; {SPARING} spares harmless role plays)",
    )  # fmt: skip
    train.add_argument("--seed", type=int, default=0, metavar="N", help="another way to halve (default: 0)")
