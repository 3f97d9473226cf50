"""Clients that call the application as HTTP does, without a network."""

from __future__ import annotations

import httpx
from fastapi import FastAPI


def with_token(app: FastAPI, secret: str) -> httpx.AsyncClient:
    """A client that sends this token."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.AsyncClient(transport=transport, base_url="http://scheduler.test", headers=headers)
