"""Code that ran at a provider, between Gemini's parts and the words in which it travels (``server_blocks``). Pure.

https://ai.google.dev/gemini-api/docs/code-execution
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.protocol import server_blocks

PARTS = ("executableCode", "codeExecutionResult")


def code_block(part: Mapping[str, Any], id_: str) -> dict[str, Any] | None:
    """What a part of code, or of what it said, is in Claude's words; None for any other part."""
    given, result = (part.get(name) for name in PARTS)
    if isinstance(given, dict):
        return server_blocks.code(id_, str(given.get("code") or ""))
    if isinstance(result, dict):
        failed = result.get("outcome") not in (None, "OUTCOME_OK")
        return server_blocks.code_result(id_, str(result.get("output") or ""), failed=failed)
    return None


def code_part(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """The way back; None for a block of anything else."""
    given, told = block.get("input"), block.get("content")
    if block.get("name") == "code_execution" and isinstance(given, dict):
        return {"executableCode": {"language": "PYTHON", "code": str(given.get("code") or "")}}
    if block.get("type") == "code_execution_tool_result" and isinstance(told, dict):
        outcome = "OUTCOME_FAILED" if told.get("return_code") else "OUTCOME_OK"
        output = str(told.get("stdout") or "") + str(told.get("stderr") or "")
        return {"codeExecutionResult": {"outcome": outcome, "output": output}}
    return None
