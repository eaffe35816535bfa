"""The format of OpenAI's Responses API: typed events of one response with one message. Pure.

https://platform.openai.com/docs/api-reference/responses-streaming

Each published piece of the text is one delta. So the number of an event is the same in each
response about the run, and `starting_after` can leave out what its client has. Where a run begins
anew, its numbers go on above all that were used before.
"""

from __future__ import annotations

from typing import Any

import orjson

from broadcaster.core.run import FAILED, STOPPED

_PLACE = {"output_index": 0, "content_index": 0}
_BEGINNING = 3
"""The most events before the first piece of a text."""


class ResponseEvents:
    """One response: the events of its stream, and the response as it is so far.

    Attributes:
        first: the number of its first event, since the run has last begun anew.
    """

    headers = ((b"content-type", b"text/event-stream; charset=utf-8"),)

    def __init__(self, after: int = -1, restarts: int = 0, told: int = 0) -> None:
        """Begin without a run.

        Args:
            after: the number of the last event that its client has.
            restarts: the number of times that the run has begun anew.
            told: the number of pieces that it had published before it last began anew.
        """
        self.first = told + _BEGINNING * restarts
        self._after = after
        self._number = self.first
        self._run, self._created_at = "", 0
        self._status, self._reason = "in_progress", ""
        self._texts: list[str] = []

    def begin(self, run: str, began_ms: int) -> bytes:
        """Return the first event."""
        self._run, self._created_at = run, began_ms // 1_000
        return self._event("response.created", response=self.response())

    def event(self, type_: str, data: str) -> bytes:
        """Return the events of the response that stand for one event of the run."""
        if type_ == "text":
            begin = b"" if self._texts else self._text_begins()
            self._texts.append(data)
            delta = {"delta": data, "logprobs": []}
            return begin + self._event("response.output_text.delta", **self._place(), **delta)
        if type_ == FAILED:
            self._status, self._reason = "failed", orjson.loads(data)["reason"]
            return self._event("response.failed", response=self.response())
        if type_ == STOPPED:
            self._status = "cancelled"
            return self._event("response.incomplete", response=self.response())
        if type_ != "complete":
            return b""
        self._status = "completed"
        end = self._text_ends() if self._texts else b""
        return end + self._event("response.completed", response=self.response())

    @property
    def over(self) -> bool:
        """Return True after the run's last event."""
        return self._status != "in_progress"

    def response(self) -> dict[str, Any]:
        """Return the whole response, as it is so far."""
        failure = {"code": "server_error", "message": self._reason}
        return {
            "id": self._run,
            "object": "response",
            "created_at": self._created_at,
            "status": self._status,
            "error": failure if self._status == "failed" else None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": "",
            "output": [self._message()] if self._texts else [],
            "parallel_tool_calls": False,
            "temperature": None,
            "tool_choice": "none",
            "tools": [],
            "top_p": None,
        }

    def _text_begins(self) -> bytes:
        message = {**self._message(), "content": []}
        return self._event(
            "response.output_item.added", output_index=0, item=message
        ) + self._event("response.content_part.added", **self._place(), part=_part(""))

    def _text_ends(self) -> bytes:
        text = "".join(self._texts)
        return b"".join(
            (
                self._event("response.output_text.done", **self._place(), text=text, logprobs=[]),
                self._event("response.content_part.done", **self._place(), part=_part(text)),
                self._event("response.output_item.done", output_index=0, item=self._message()),
            )
        )

    def _message(self) -> dict[str, Any]:
        status = self._status if self._status in ("in_progress", "completed") else "incomplete"
        return {
            "id": f"msg_{self._run}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [_part("".join(self._texts))],
        }

    def _place(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self._run}", **_PLACE}

    def _event(self, type_: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        if number <= self._after:
            return b""
        data = orjson.dumps({"type": type_, "sequence_number": number, **fields})
        return b"event: %b\ndata: %b\n\n" % (type_.encode(), data)


def make(after: int = -1, restarts: int = 0, told: int = 0) -> ResponseEvents:
    """Return the format of one response. The arguments are those of `ResponseEvents`."""
    return ResponseEvents(after, restarts, told)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
