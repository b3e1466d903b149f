"""Commands that start processes: ``up`` (the supervised tree), single parts, and the demonstration."""

from __future__ import annotations

import gc
import http.client
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from gateway.access import admin_key, second_factor
from gateway.commands.common import fail, policies_of, prepared_home, read_policies, say
from gateway.commands.engines import engine_parts
from gateway.config import Backup, Config
from gateway.policy.door_checks import bind_problem
from gateway.policy.files import Loaded, PolicyError, read
from gateway.policy.withheld import withheld, without
from gateway.processes.supervisor import CannotStart, Part, Supervisor, answers_on, free_port, only_one
from gateway.processes.workers import problem as workers_problem
from gateway.providers import ClassifierProvider
from gateway.storage.home import Home

_log = logging.getLogger("understudy.policies")
LOWEST_PRIORITY = 19
_LATER = 10
"""The ingester's: whoever waits for an answer goes first, what is stored may be a moment late."""


def default(options: Namespace) -> int:
    """Bare ``understudy``: the gateway when it has somebody to ask, else the demonstration."""
    loaded = read_policies(policies_of(options))
    if loaded is None:
        return 1
    enabled = enabled_providers(loaded.config)
    if enabled:
        say(
            f"Starting the gateway with your provider{'s' if len(enabled) > 1 else ''}: {', '.join(enabled)}."
        )
        say("No traffic of its own is sent: only your clients cause paid calls. (See also: understudy demo)")
        return up(options)
    say("No provider has its key in the environment, so this is the demonstration with a simulated teacher.")
    say("For the real gateway, set a key and start again, for example: export OPENAI_API_KEY=...")
    return demo(options)


def enabled_providers(config: Config) -> list[str]:
    """Providers that can be asked now, students' engines apart."""
    return [
        name
        for name, one in config.providers.items()
        if name not in config.disabled_providers and not isinstance(one, ClassifierProvider)
    ]


def up(options: Namespace) -> int:
    folder = policies_of(options)
    loaded = read_policies(folder)
    if loaded is None:
        return 1
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    server = loaded.config.server
    host = options.host or server.host
    port = server.port if options.port is None else options.port
    workers = options.workers or server.workers
    why, hint = bind_problem(server, os.environ, host)
    if why:
        return fail(f"{why} {hint}")
    if why := workers_problem(workers, os.environ):
        return fail(why)
    home = prepared_home()
    try:
        second_factor.secret_in(os.environ)
        _, fresh_key = admin_key.ensure(home, os.environ)
        with only_one(home):
            port = free_port(host, port)
            parts = tree(loaded.config, home, folder.resolve(), host, port, os.environ, workers)
            say("Starting: " + ", ".join(part.name for part in parts))
            status = Supervisor(parts, home, say).run(lambda: _greet(host, port, home, fresh_key))
            say("Stopped.")
            return status
    except (CannotStart, admin_key.WeakKey) as error:
        return fail(str(error))


def tree(
    config: Config,
    home: Home,
    policies: Path,
    host: str,
    port: int,
    env: Mapping[str, str],
    workers: int = 1,
) -> tuple[Part, ...]:
    """The parts in the order of their start: the ingester first, because it migrates the database. None but the
    gateway calls anybody, so no other has the keys of providers in its environment."""
    shared = {"UNDERSTUDY_HOME": str(home.root), "PYTHONUNBUFFERED": "1"}
    places = ("--home", str(home.root))
    rules = ("--policies", str(policies), *places)
    theirs = withheld(policies, env, all_secrets=False)
    embedded = not env.get("UNDERSTUDY_DATABASE_URL", "").startswith("postgres")
    parts = [
        Part(
            name="ingester",
            command=_ingester(config.backup, places),
            ready=(lambda: answers_on(home.writer_socket)) if embedded else None,
            stop_order=4,
            nice=_LATER,
            env=shared,
        ),
        *engine_parts(config, home, shared),
    ]
    parts = [replace(part, withheld=theirs) for part in parts]
    gateway = Part(
        name="gateway",
        command=_gateway(workers, config, rules, host, port),
        ready=_answers_readyz(host, port),
        grace_s=config.server.shutdown_s + (5.0 if workers == 1 else 15.0),
        stop_order=1,
        env=shared,
    )
    trainer = Part(
        name="trainer",
        command=_module("trainer.worker", *rules),
        grace_s=15.0,
        stop_order=2,
        nice=LOWEST_PRIORITY,
        env={**shared, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        withheld=withheld(policies, env),
    )
    return (*parts, gateway, trainer)


def serve(options: Namespace) -> int:
    loaded = read_policies(policies_of(options))
    if loaded is None:
        return 1
    server = loaded.config.server
    why, hint = bind_problem(server, os.environ, options.host)
    if why:
        return fail(f"{why} {hint}")
    workers = options.workers or server.workers
    if why := workers_problem(workers, os.environ):
        return fail(why)
    if workers > 1:
        rules = ("--policies", str(policies_of(options)), *_home())
        port = server.port if options.port is None else options.port
        _show_fresh_admin_key()
        return _replace(_gateway(workers, loaded.config, rules, options.host or server.host, port))
    return _serve_here(loaded, options)


def _serve_here(loaded: Loaded, options: Namespace) -> int:
    """In this process, which has loaded half of the gateway already, and read the policies."""
    gc.disable()  # until everything is there, see gateway.cli
    from gateway.server import run
    from gateway.telemetry.logs import setup_logging

    setup_logging()
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    return run(prepared_home(), policies_of(options), options.host, options.port, config=loaded.config)


def _gateway(workers: int, config: Config, rules: tuple[str, ...], host: str, port: int) -> tuple[str, ...]:
    """The command of the gateway: one process, or the parent of several."""
    address = ("--host", host, "--port", str(port))
    if workers == 1:
        return _module("gateway.server", *rules, *address)
    many = ("--workers", str(workers), "--grace", str(config.server.shutdown_s))
    return _module("gateway.processes.workers", *many, *address, *rules)


def _show_fresh_admin_key() -> None:
    """Made here when there is none: workers that start together must not make one each."""
    try:
        second_factor.secret_in(os.environ)
        _, fresh = admin_key.ensure(prepared_home(), os.environ)
    except admin_key.WeakKey as error:
        raise SystemExit(fail(str(error))) from None
    if fresh is not None:
        say(f"Admin key (shown this once, only its hash is kept): {fresh}")


def ingest(options: Namespace) -> int:
    try:
        backup = read(policies_of(options), os.environ).config.backup
    except PolicyError:
        backup = Backup()  # the spool is emptied whatever the policies say
    return _replace(_ingester(backup, _home()))


def _ingester(backup: Backup, places: tuple[str, str]) -> tuple[str, ...]:
    copies = ("--backup-every-h", f"{backup.every_h:g}", "--backup-keep", str(backup.keep))
    return _module("gateway.storage.spooling.ingester", *places, *copies)


def trainer(options: Namespace) -> int:
    policies = policies_of(options)
    try:
        env = without(os.environ, withheld(policies, os.environ))
    except PolicyError as error:
        return fail(str(error))
    return _replace(_module("trainer.worker", "--policies", str(policies), *_home()), env)


def engine(_options: Namespace) -> int:
    return _become("trainer.engines.classifier", *_home())


def demo(options: Namespace) -> int:
    if options.policies is not None:
        return fail("the demonstration has policies of its own. Yours are run by: understudy up --policies DIR")
    return _become("benchmarks.demo", *_home(), *(["--fresh"] if options.fresh else []))


def _home() -> tuple[str, str]:
    return "--home", str(prepared_home().root)


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)


def _become(module: str, *arguments: str) -> int:
    return _replace(_module(module, *arguments))


def _replace(command: tuple[str, ...], env: Mapping[str, str] = os.environ) -> int:
    """Replaces this process, so that signals and the exit status are the part's own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, env)  # noqa: S606 - our own module, no shell


def _answers_readyz(host: str, port: int) -> Callable[[], bool]:
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host).strip("[]")  # noqa: S104 - to reach it

    def ready() -> bool:
        connection = http.client.HTTPConnection(address, port, timeout=2.0)
        try:
            connection.request("GET", "/readyz", headers={"host": f"localhost:{port}"})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ready


def _greet(host: str, port: int, home: Home, fresh_key: str | None) -> None:
    shown = f"[{host}]" if ":" in host else host
    say(f"Ready.  Gateway: http://{shown}:{port}/v1   Admin page: http://{shown}:{port}/admin")
    if fresh_key is not None:
        say(f"Admin key (shown this once, only its hash is kept): {fresh_key}")
    say(f"Logs: {home.logs}   A key for a client: understudy keys create --name app   Stop: Ctrl-C")
