"""The google-genai client and a loop, over Gemini's own API."""

from google import genai
from google.genai import types

from . import shop

TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="look_up_order",
            description="Look up one order: what was bought, and where it is.",
            parameters_json_schema={
                "type": "object",
                "properties": {"order_id": {"type": "integer"}},
                "required": ["order_id"],
            },
        )
    ]
)


def answer(question: str, base_url: str | None = None) -> str:
    """What Gemini says, or whoever speaks its API at `base_url`."""
    config = types.GenerateContentConfig(system_instruction=shop.INSTRUCTIONS, tools=[TOOL])
    contents = [types.Content(role="user", parts=[types.Part(text=question)])]
    with genai.Client(api_key=shop.API_KEY, http_options=types.HttpOptions(base_url=base_url)) as client:
        while True:
            pieces = client.models.generate_content_stream(model="gemini-2.5-flash", contents=contents, config=config)
            parts = [part for piece in pieces for part in piece.candidates[0].content.parts or ()]
            calls = [part.function_call for part in parts if part.function_call]
            if not calls:
                return "".join(part.text or "" for part in parts)
            results = [
                types.Part.from_function_response(name=call.name, response={"result": shop.look_up_order(**call.args)})
                for call in calls
            ]
            contents += [types.Content(role="model", parts=parts), types.Content(role="user", parts=results)]
