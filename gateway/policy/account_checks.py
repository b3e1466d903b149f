"""Checks of providers that are reached with a service account."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.policy.reading import Path, Problem
from gateway.policy.view import View
from gateway.providers import VertexProvider
from gateway.providers.vertex.google_account import NotAnAccount, account_of


def problems(view: View, path: Path, provider: VertexProvider) -> Iterator[Problem]:
    """The account can be read, and there is one; somebody says whose project it is."""
    account = None
    try:
        account = account_of(provider.service_account) if provider.service_account else None
    except NotAnAccount as problem:
        yield view.problem((*path, "service_account"), f"this is no service account's key: {problem}.")
        return
    if view.unset(path):
        return
    if provider.credentials and account is not None:
        message = "this provider has a 'service_account' too."
        yield view.problem((*path, "credentials"), message, "Take out one of the two.")
    if provider.api_keys and (account is not None or provider.credentials):
        message = "access tokens take the place of keys, and this provider has both."
        yield view.problem((*path, "api_keys"), message, "Take out one of the two.")
    other = provider.credentials or provider.api_key or provider.api_keys or "authorization" in provider.headers
    if account is None and not other:
        hint = (
            "Write the path of its key file, or ${NAME} with the file's JSON, or 'credentials: metadata' for the "
            "identity of the machine."
        )
        yield view.problem(path, "a provider of type 'vertex' needs a 'service_account'.", hint)
    if not provider.project and (account is None or not account.project_id):
        yield view.problem(path, "a provider of type 'vertex' needs a 'project'.")
