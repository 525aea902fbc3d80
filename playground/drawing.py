"""Stub."""

import streamlit as st


def draw_trace(trace, key):
    st.code(trace.to_json(indent=1)[:3000])
