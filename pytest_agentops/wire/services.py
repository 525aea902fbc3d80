"""What providers offer beside their models: files, stores, conversations, lists of models, counting tokens.

A run that uses them is not odd, so they are no findings; no model answers there, so they are no model calls either.
Batches are not among them: models answer there, later and elsewhere, and what they answer is not read.

Source of the paths: the API references of OpenAI, Anthropic, Google, Cohere and Ollama.
"""

from __future__ import annotations

import re

from pytest_agentops.exchange import Request
from pytest_agentops.wire import provider_of

_ANYWHERE = {
    "counting tokens": r"/v1/messages/count_tokens|/models/[^/:]+:countTokens|/responses/input_tokens|/v1/tokenize",
    "models": r"/api/(?:tags|show|ps|version)",
    "responses": r"DELETE .*/responses/[^/]+|/responses/[^/]+/input_items",
}
"""Paths that say what they are wherever they are served, some with a method before them."""

_OF_PROVIDERS = {
    "files": r"/files(?:/.*)?|/uploads(?:/.*)?",
    "stores": r"/(?:vector_stores|fileSearchStores|cachedContents)(?:[/:].*)?",
    "models": r"/models(?:/[^/:]+)?",
    "containers": r"/containers(?:/.*)?",
}
"""Paths that mean this at a known provider alone; anyone may have files."""


def service_of(request: Request) -> str | None:
    """What this is at a provider, such as `files`; None when it is nothing that we know."""
    path = request.location.path.rstrip("/")
    for name, pattern in _ANYWHERE.items():
        if re.search(rf"(?:{pattern})$", f"{request.method} {path}"):
            return name
    provider = provider_of(request)
    if provider == (request.location.hostname or ""):
        return None
    # At Mistral a model answers there.
    if provider in ("openai", "azure.ai.openai") and re.search(r"/conversations(?:/.*)?$", path):
        return "conversations"
    for name, pattern in _OF_PROVIDERS.items():
        if re.search(rf"/(?:v\d\w*|openai)(?:{pattern})$", path):
            return name
    return None
