"""What the pages name is there: policies, commands, files, tests, links, headers, metrics, variables, addresses."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
import shlex
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
import yaml
from docs_pages import CURRENT, PAGES, ROOT, TEXTS, Block, blocks, inline, policies_of, prose

from gateway.cli import parser as whole_parser
from gateway.policy.files import PolicyError, read

CODE = ("gateway", "optimizer", "trainer", "admin_ui", "benchmarks", "deploy")
OPERATORS_OWN = re.compile(
    r"has no config\.json|there is no (folder|checkpoint|file of this name)|no fitted model can be read there"
)
"""Models and key files that an example names and only its reader has."""


@cache
def source() -> str:
    """All code of the product."""
    return "\n".join(
        path.read_text(encoding="utf-8")
        for folder in CODE
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".js", ".html", ".yaml"}
    )


def _shipped() -> list[Block]:
    """The shipped policies with what stands commented out in them, as somebody has it who takes the signs away."""
    made = []
    for file in sorted((ROOT / "policies").glob("*.yaml")):
        text = re.sub(r"^tasks: \[\]$", "tasks:", file.read_text(), flags=re.MULTILINE)
        text = re.sub(r"^#(?=  )", "", text, flags=re.MULTILINE)
        text = re.sub(r"^( *)# (?=(- |\w+: )[{\d])", r"\1", text, flags=re.MULTILINE)
        made.append(Block(f"policies/{file.name}", 1, "yaml", text))
    return made


@pytest.mark.parametrize("block", blocks("yaml") + _shipped(), ids=str)
def test_policies_pass_the_checker(block: Block, tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "page.yaml").write_text(yaml.safe_dump(policies_of(block), sort_keys=False))
    env: dict[str, str] = defaultdict(lambda: "a-text-of-the-pages-Vq83jfn2")
    env |= {name: f"{env['']}-{name}" for name in re.findall(r"\$\{(\w+)\}", block.text)}
    env |= {"UNDERSTUDY_REDIS_URL": "redis://127.0.0.1:6379/0", "UNDERSTUDY_DATABASE_URL": "postgresql://127.0.0.1/u"}
    try:
        read(policies, env)
    except PolicyError as error:
        wrong = [one for one in map(str, error.problems) if not OPERATORS_OWN.search(one)]
        assert not wrong, "\n".join(wrong)


def _shown_commands() -> list[tuple[str, str]]:
    found = []
    for block in blocks("", "sh", "console"):
        for line in block.text.splitlines():
            whole = re.match(r"(?:\$ )?(?:\.venv/bin/)?(understudy\b.*)", line.strip())
            if whole and not re.match(r"understudy\w*[_{:]", whole[1]):
                found.append((str(block), whole[1]))
    return found


@pytest.mark.parametrize(("where", "line"), _shown_commands())
def test_commands_parse(where: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    whole_parser().parse_args(words[1:])  # exits with 2 where it cannot


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_commands_in_sentences_have_these_names_and_options(page: Path) -> None:
    for text in inline(page):
        if not re.match(r"understudy( [a-z]|$)", text):
            continue
        here, words = whole_parser(), shlex.split(text)[1:]
        while words and (actions := _subcommands(here)) is not None and not words[0].startswith("-"):
            assert words[0] in actions, f"{page.name}: there is no `{text}`"
            here = actions[words.pop(0)]
        known = {option for action in here._actions for option in action.option_strings}
        assert {word for word in words if word.startswith("--")} <= known, f"{page.name}: {text}"


def test_the_page_of_commands_names_every_command() -> None:
    named = {word for text in inline(ROOT / "docs" / "commands.md") for word in text.split()}
    assert set(_subcommands(whole_parser()) or ()) <= named


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser] | None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_are_there_and_know_their_options(page: Path) -> None:
    for module, rest in re.findall(
        r"python -m ((?:benchmarks|trainer|gateway|deploy)[\w.]*)([^`\n;|>]*)", TEXTS[page]
    ):
        name = module.rstrip(".")
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, f"{page.name}: python -m {name}"
        file = Path(spec.origin)
        files = file.parent.rglob("*.py") if file.name == "__init__.py" else [file]
        text = "\n".join(one.read_text(encoding="utf-8") for one in files)
        for option in re.findall(r"--[a-z][a-z-]+", rest):
            assert f'"{option}"' in text, f"{page.name}: {name} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_have_a_head_and_as_many_cells_in_every_row(page: Path) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", prose(page), re.MULTILINE):
        rows = [re.sub(r"`[^`]*`", "", row).replace("\\|", "").count("|") for row in table.splitlines()]
        assert re.fullmatch(r"\|(?: ?:?-+:? ?\|)+", table.splitlines()[1]), f"{page.name}: {table[:80]}"
        assert len(set(rows)) == 1, f"{page.name}: {table.splitlines()[rows.index(max(set(rows) - {rows[0]}))][:120]}"


@pytest.mark.parametrize("block", blocks("python", "json"), ids=str)
def test_code_can_be_read(block: Block) -> None:
    ast.parse(block.text) if block.language == "python" else json.loads(re.sub(r"\n(?=\S)", " ", block.text))


def test_targets_of_make_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in CURRENT:
        named = {text.split()[1] for text in inline(page) if re.match(r"make [a-z]", text)}
        assert named <= targets, page.name
    for block in blocks("", "sh"):
        assert set(re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)) <= targets, block


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_files_are_there(page: Path) -> None:
    roots = (*CODE, "docs", "tests", "policies", ".ci")
    for text in inline(page):
        path = text.split("::")[0]
        if not re.fullmatch(rf"({'|'.join(map(re.escape, roots))})/[\w./-]+", path) or "NAME" in path:
            continue
        places = (ROOT / path, ROOT / f"{path}.py", ROOT / "tests" / path)
        assert any(one.exists() for one in places), f"{page.name}: {path}"


@cache
def _tests() -> dict[str, set[str]]:
    """The names of test functions by the file's name."""
    return {
        path.name: {one.name for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
    }  # fmt: skip


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_tests_are_there(page: Path) -> None:
    file = ""
    for text in inline(page):
        named = re.match(r"(?:[\w/]*/)?(test_\w+\.py)", text)
        if named:
            file = named[1]
            assert file in _tests(), f"{page.name}: {text}"
        if "::" in text and (named or text.startswith("…")):
            assert text.split("::")[1] in _tests()[file], f"{page.name}: {text}"


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.replace("`", "").lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(file), f"{page.name}: {target}"


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_headers_metrics_and_variables_are_there(page: Path) -> None:
    names = set(re.findall(r"\bx-understudy-[a-z-]+[a-z]|\bUNDERSTUDY_[A-Z0-9_]+[A-Z0-9]", TEXTS[page]))
    tests_too = {*names} & set(re.findall(r"UNDERSTUDY_(?:TEST|OLD)_\w+", TEXTS[page]))
    missing = {one for one in names - tests_too if one.lower() not in source().lower()}
    assert not missing
    metrics = {
        one.removeprefix("understudy_").removesuffix("_total")  # the library adds that to counters
        for one in re.findall(r"\bunderstudy_[a-z0-9_]+[a-z0-9]", TEXTS[page])
    }
    assert not {one for one in metrics if one not in source()}
