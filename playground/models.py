"""The models that can be asked, and those that recordings answer for; a key is never shown."""

from __future__ import annotations

import os

import streamlit as st
import ui

from pytest_agentops.laboratory import probe
from pytest_agentops.models import Endpoint

_EXAMPLE = """[tool.agentops.models.local]                 # a llama.cpp, Ollama or vLLM on this machine
base_url = "http://127.0.0.1:11434/v1"
model = "qwen2.5-coder"                       # what the server calls it; the name of the table, if not given

[tool.agentops.models.mini]                  # OpenAI, with its key from the environment
model = "gpt-5-mini"
key = "OPENAI_API_KEY"
price = {input = 0.25, output = 2.0}          # US dollars for a million tokens, where the public tables are wrong"""


def main() -> None:
    settings = ui.settings()
    laboratory = ui.laboratory(settings)
    served = settings.models.served
    if not served:
        ui.empty(
            "No models are set up. Recordings answer all the same, and any model of OpenAI can be typed where its key "
            "is set. Write into pyproject.toml:",
            _EXAMPLE,
        )
    for endpoint in served.values():
        with st.container(border=True, key=f"model.{endpoint.name}"):
            about(endpoint)
    st.subheader("What recordings know")
    recorded = laboratory.recall.models(laboratory.prompts)
    if not recorded:
        st.caption("No recorded test has rendered a prompt of this project yet.")
    for model, tests in recorded.items():
        with st.expander(ui.plain(f"{model}: {len(tests)} recorded tests")):
            st.code("\n".join(tests), language=None)
    if served:
        with st.expander("Adding another one"):
            st.code(_EXAMPLE, language="toml")


def about(endpoint: Endpoint) -> None:
    """One model: where it is, whether its key is there, what it costs, and whether it answers."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{ui.plain(endpoint.name)}**", width="content")
        if endpoint.model != endpoint.name:
            st.caption(ui.plain(endpoint.model), width="content")
        st.caption(ui.plain(endpoint.base_url or os.environ.get("OPENAI_BASE_URL") or "OpenAI"), width="content")
        if endpoint.key is None:
            st.badge("no key needed", color="gray")
        elif endpoint.lacks(os.environ):
            st.badge(ui.plain(f"{endpoint.key} is not set"), icon=":material/key_off:", color="orange")
        else:
            st.badge(ui.plain(f"{endpoint.key} is set"), icon=":material/key:", color="green")
        if endpoint.price is not None:
            st.caption(ui.plain(f"${endpoint.price.input:g} in, ${endpoint.price.output:g} out, for a million tokens"),
                       width="content")  # fmt: skip
        asked = st.button("Does it answer?", key=f"probe.{endpoint.name}", type="tertiary")
    if asked:
        with st.spinner("asking"):
            answers, says = probe(endpoint)
        (st.success if answers else st.error)(ui.plain(says))


with ui.page("Models", "Where variants can be asked"):
    main()
