"""A chat whose answers survive a reload, a second tab and the death of a pod.

Any number of these processes may run beside each other. Each answer is produced by the process that
was asked, and is served by all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from redis.asyncio import Redis

from broadcaster import Answers
from examples.chat.model import stub

REDIS_URL = os.environ["REDIS_URL"]
PAGE = Path(os.environ.get("PAGE") or Path(__file__).parent / "page" / "dist")

app = FastAPI()
answers = Answers(app, REDIS_URL, takeover_s=float(os.environ.get("TAKEOVER_S", "15")))
saved = Redis.from_url(REDIS_URL, decode_responses=True)  # stands for your database


class Question(BaseModel):
    """What `useChat` sends: its chat, and all messages of it."""

    id: str
    messages: list[dict[str, Any]]


@app.post("/api/chat")
async def chat(question: Question) -> Response:
    """Begin an answer. It goes on without the client that has asked for it."""
    asked = question.messages[-1]
    await save(question.id, "user", asked["parts"])
    text = "".join(part.get("text", "") for part in asked["parts"])
    return await answers.start(question.id, answer(question.id, text), format="ai-sdk")


async def answer(chat_id: str, text: str) -> AsyncIterator[str]:
    """Produce an answer, and save it when it is whole."""
    whole = ""
    async for part in stub(text):
        whole += part
        yield part
    await save(chat_id, "assistant", [{"type": "text", "text": whole}])


@app.get("/api/chat/{id}/stream")
async def again(id: str) -> Response:
    """Follow the answer that is being produced, from its beginning; 204 if there is none."""
    return await answers.resume(id, format="ai-sdk")


@app.post("/api/chat/{id}/stop")
async def stop(id: str) -> dict[str, bool]:
    """Stop it, whichever process produces it."""
    return {"stopped": await answers.stop(id)}


@app.get("/api/chat/{id}")
async def messages(id: str) -> list[dict[str, Any]]:
    """Return the questions of a chat, and its whole answers."""
    lines = await saved.lrange(f"chat:{id}", 0, -1)
    return [{"id": str(number), **json.loads(line)} for number, line in enumerate(lines)]


async def save(chat_id: str, role: str, parts: list[dict[str, Any]]) -> None:
    """Add a message to a chat."""
    await saved.rpush(f"chat:{chat_id}", json.dumps({"role": role, "parts": parts}))


app.mount("/", StaticFiles(directory=PAGE, html=True))
