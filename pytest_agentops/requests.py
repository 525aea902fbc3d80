"""A prompt as the keyword arguments of OpenAI's chat completions and responses.

The names of options are those of Prompty v2, translated; a name that it does not know goes through as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_agentops.kinds import object_schema

if TYPE_CHECKING:
    from pytest_agentops.prompt import Prompt, Tool

_CHAT = {
    "temperature": "temperature",
    "topP": "top_p",
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
    name = prompt.name.replace("/", "_").replace(".", "_")[-64:]
    return {"name": name, "strict": True, "schema": object_schema(tuple(prompt.outputs.values()), strict=True)}


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
    return {"type": "function", **_function(tool)} if tool.kind == "function" else _own(tool)


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
            "content": content if isinstance(content, str) else [_input_part(part) for part in content],
        }
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield {
            "type": "function_call",
            "call_id": call["id"],
            "name": function["name"],
            "arguments": function["arguments"],
        }


def _input_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": "input_text", "text": part["text"]}
    if part.get("type") == "image_url":
        image = part["image_url"]
        more = {"detail": image["detail"]} if "detail" in image else {}
        return {"type": "input_image", "image_url": image["url"], **more}
    if part.get("type") == "file":
        return {"type": "input_file", **part["file"]}
    return dict(part)
