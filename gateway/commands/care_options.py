"""The options of what looks after an installation: ``check``, ``savings``, ``migrate``, ``import-config`` ..."""

from __future__ import annotations

from pathlib import Path

from gateway.commands.parsing import Commands, add


def care_commands(commands: Commands) -> None:
    add(
        commands, "check", "validate the policies; exit status 1 with file:line when they cannot be used",
        ("care", "check"), "understudy check", "understudy check --policies policies/demo",
    )  # fmt: skip
    saved = add(
        commands, "savings", "whether students have paid for themselves, and what was expected", ("savings", "savings"),
        "understudy savings", "understudy savings --days 7 --json",
    )  # fmt: skip
    saved.add_argument("--days", type=float, default=30.0, metavar="N", help="how far back (default: 30)")
    saved.add_argument("--json", action="store_true", help="print the figures as JSON")
    add(
        commands,
        "migrate",
        "bring the database's schema up to date",
        ("care", "migrate"),
        "understudy migrate",
    )
    carry = add(
        commands, "import-config", "turn a LiteLLM configuration into policies, and tell what could not come along",
        ("import_config", "import_config"), "understudy import-config config.yaml --out policies-new",
    )  # fmt: skip
    carry.add_argument("file", metavar="FILE", help="LiteLLM's config.yaml")
    carry.add_argument("--out", required=True, metavar="DIR", help="a new folder for the policies")
    _verify_command(commands)


def _verify_command(commands: Commands) -> None:
    verify = add(
        commands, "verify", "recompute a student's certificate, or check the journal", ("verify", "verify"),
        "understudy verify .understudy/certificates/CERTIFICATE.json",
        "understudy verify CERTIFICATE.json --public-key BASE64", "understudy verify --journal",
    )  # fmt: skip
    verify.add_argument("certificate", type=Path, nargs="?", metavar="CERTIFICATE", help="the certificate's file")
    verify.add_argument("--public-key", metavar="BASE64", help="the signer (default: this installation)")
    verify.add_argument("--journal", action="store_true", help="the record of this installation instead")
