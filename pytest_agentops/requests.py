"""A prompt as the keyword arguments of OpenAI's chat completions and responses.

The names of options are those of Prompty v2, translated; a name that it does not know goes through as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_agentops.errors import PromptInputError
from pytest_agentops.kinds import closed, object_schema

if TYPE_CHECKING:
    from pytest_agentops.prompt import Prompt, Tool

_CHAT = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_completion_tokens",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
    "seed": "seed",
    "stopSequences": "stop",
    "allowMultipleToolCalls": "parallel_tool_calls",
    "reasoningEffort": "reasoning_effort",
}
_RESPONSES = {
    "temperature": "temperature",
    "topP": "top_p",
    "maxOutputTokens": "max_output_tokens",
    "allowMultipleToolCalls": "parallel_tool_calls",
}


def chat_request(prompt: Prompt, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The arguments of `client.chat.completions.create`."""
    for message in messages:
        for part in message["content"] if isinstance(message.get("content"), list) else ():
            if part.get("type") == "file" and "file_url" in part["file"]:
                raise PromptInputError(
                    f"{prompt.name}: chat completions take no file by its URL\n"
                    '  give its id or its bytes, or use request(api="responses", ...)'
                )
    request: dict[str, Any] = {"model": prompt.model["id"], "messages": list(messages), **_options(prompt, _CHAT)}
    if prompt.tools:
        request["tools"] = [_chat_tool(tool) for tool in prompt.tools]
    if prompt.outputs:
        request["response_format"] = {"type": "json_schema", "json_schema": _output_format(prompt)}
    return request


def responses_request(prompt: Prompt, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The arguments of `client.responses.create`."""
    items = [item for message in messages for item in _items(message)]
    request: dict[str, Any] = {"model": prompt.model["id"], "input": items, **_options(prompt, _RESPONSES)}
    if effort := (prompt.model.get("options") or {}).get("reasoningEffort"):
        request.pop("reasoningEffort", None)
        request["reasoning"] = {"effort": effort}
    if prompt.tools:
        request["tools"] = [_responses_tool(tool) for tool in prompt.tools]
    if prompt.outputs:
        request["text"] = {"format": {"type": "json_schema", **_output_format(prompt)}}
    return request


def _options(prompt: Prompt, names: Mapping[str, str]) -> dict[str, Any]:
    given = dict(prompt.model.get("options") or {})
    more = given.pop("additionalProperties", None) or {}
    return {names.get(name, name): value for name, value in {**given, **more}.items()}


def _output_format(prompt: Prompt) -> dict[str, Any]:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", prompt.name)[-64:]
    fields = tuple(prompt.outputs.values())
    strict = all(map(closed, fields))
    return {"name": name, "strict": strict, "schema": object_schema(fields, strict=strict)}


# --- tools -----------------------------------------------------------------------------------------------------------


def _function(tool: Tool) -> dict[str, Any]:
    strict = bool(tool.strict)
    parameters = tool.schema if tool.schema is not None else object_schema(tool.parameters, strict=strict)
    function: dict[str, Any] = {"name": tool.name, "parameters": dict(parameters)}
    if tool.description:
        function["description"] = tool.description
    return function if tool.strict is None else {**function, "strict": strict}


def _chat_tool(tool: Tool) -> dict[str, Any]:
    return {"type": "function", "function": _function(tool)} if tool.kind == "function" else _own(tool)


def _responses_tool(tool: Tool) -> dict[str, Any]:
    # The client's types ask for `strict`, and the API takes it to be true where it is not given.
    return {"type": "function", "strict": False, **_function(tool)} if tool.kind == "function" else _own(tool)


def _own(tool: Tool) -> dict[str, Any]:
    """A tool of the provider's, as the file has it."""
    return {"type": tool.kind, **{key: value for key, value in tool.raw.items() if key not in ("kind", "type")}}


# --- messages as items -----------------------------------------------------------------------------------------------


def _items(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A chat message as the items of a response's input."""
    role, content = message["role"], message.get("content")
    if role == "tool":
        output = content if isinstance(content, str) else json.dumps(content)
        yield {"type": "function_call_output", "call_id": message.get("tool_call_id", ""), "output": output}
        return
    if content:
        yield {
            "role": role,
            "content": content if isinstance(content, str) else [_part(part, role) for part in content],
        }
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield {
            "type": "function_call",
            "call_id": call["id"],
            "name": function["name"],
            "arguments": function["arguments"],
        }


def _part(part: Mapping[str, Any], role: str) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": "output_text" if role == "assistant" else "input_text", "text": part["text"]}
    if part.get("type") == "image_url":
        image = part["image_url"]
        more = {"detail": image["detail"]} if "detail" in image else {}
        return {"type": "input_image", "image_url": image["url"], **more}
    if part.get("type") == "file":
        return {"type": "input_file", **part["file"]}
    return dict(part)
