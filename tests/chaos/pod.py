"""An application with answers in the formats of others, which workers make.

python -m tests.chaos.pod serve --port PORT
"""

from __future__ import annotations

import os
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from broadcaster import Answers


class Requests:
    """What clients ask of the application."""

    answers: Answers

    async def chat(self, request: Request) -> Response:
        """Begin an answer for `useChat`."""
        asked = await request.json()
        return await self.answers.ask(asked["id"], asked, format="ai-sdk")

    async def again(self, request: Request) -> Response:
        """Go on with an answer for `useChat`."""
        return await self.answers.resume(request.path_params["id"], format="ai-sdk")

    async def create(self, request: Request) -> Response:
        """Begin an answer for a client of OpenAI."""
        asked = await request.json()
        return await self.answers.ask(asked["user"], asked, format="openai")

    async def retrieve(self, request: Request) -> Response:
        """Go on with an answer for a client of OpenAI, or say how it is."""
        query = request.query_params
        after = int(query["starting_after"]) if "starting_after" in query else None
        return await self.answers.retrieve(
            request.path_params["id"], stream=query.get("stream") == "true", starting_after=after
        )

    async def ready(self, _: Request) -> Response:
        """Say whether the hub can serve."""
        reasons = self.answers.hub.state.node.health.reasons()
        return PlainTextResponse(" ".join(reasons), 503 if reasons else 200)


def application() -> Starlette:
    """Return the application; the settings of its hub are in the environment."""
    asked = Requests()
    app = Starlette(
        routes=[
            Route("/api/chat", asked.chat, methods=["POST"]),
            Route("/api/chat/{id}/stream", asked.again),
            Route("/v1/responses", asked.create, methods=["POST"]),
            Route("/v1/responses/{id}", asked.retrieve),
            Route("/readyz", asked.ready),
        ]
    )
    asked.answers = Answers(app, os.environ["BROADCASTER_REDIS_URL"])
    return app


if __name__ == "__main__":
    uvicorn.run(application(), port=int(sys.argv[-1]), log_level="warning")
