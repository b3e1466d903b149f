"""``understudy cache``: how the caches of a running gateway stand, and forgetting answers. Speaks the admin API."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from gateway.commands.admin_line import with_admin
from gateway.commands.common import fail, say
from gateway.protocol.counted import counted


def show(options: Namespace) -> int:
    return with_admin(options, lambda admin: _show(admin.read("/admin/api/caches")))


def purge(options: Namespace) -> int:
    wanted = {
        name: value
        for name in ("task", "project", "key", "entry", "older_than_s")
        if (value := getattr(options, name)) is not None
    }
    if bool(wanted) == options.everything:
        return fail("say what to forget: --task, --project, --key, --entry, --older-than; or --everything alone.")
    body = {**wanted, "reason": options.reason, "everything": options.everything}
    return with_admin(options, lambda admin: say(admin.act("/admin/api/caches/purge", body)["message"]))


def _show(told: dict[str, Any]) -> None:
    for name in ("exact", "semantic"):
        kept = told[name]
        say(f"{name:9} {counted(kept['entries'], 'answer')}, {kept['bytes']:,} bytes" if kept else f"{name:9} in Redis")
    for one in told["tasks"]:
        state = "serves" if one["open"] else "closed, still proving"
        say(
            f"{one['project']}/{one['task']}  {state}  delta {one['delta']:g}  {counted(one['seen'], 'comparison')}, "
            f"{counted(one['proposals'], 'proposal')} in round {one['round']}, {counted(one['alarms'], 'alarm')}"
        )
