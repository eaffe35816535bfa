"""The format of AG-UI, npm `@ag-ui/client`: the events of one run of an agent. Pure.

https://docs.ag-ui.com/concepts/events

Its client takes a clean end of a response for the end of the run. It appends what it gets to the
message that it has. So each response begins with the first event of the run, and a client that
comes back has to drop its part of the message first.
"""

from __future__ import annotations

from typing import Any

import orjson

from broadcaster.core.run import FAILED, STOPPED


class AgentEvents:
    """One run of an agent, with one message."""

    headers = ((b"content-type", b"text/event-stream"),)

    def __init__(self, thread: str, run: str) -> None:
        """Store the arguments.

        Args:
            thread: the client's name of the conversation.
            run: the client's name of the run; empty if it gave none.
        """
        self._names = {"threadId": thread, "runId": run}
        self._message = {"messageId": ""}
        self._has_text = False

    def begin(self, run: str, began_ms: int) -> bytes:
        """Return the event that each response begins with."""
        self._names["runId"] = self._names["runId"] or run
        self._message["messageId"] = run
        return _event("RUN_STARTED", **self._names)

    def event(self, type_: str, data: str) -> bytes:
        """Return the events of AG-UI that stand for one event of the run."""
        if type_ == FAILED:
            return _event("RUN_ERROR", message=orjson.loads(data)["reason"])
        if type_ == STOPPED:
            return _event("RUN_ERROR", message="the run was stopped", code=STOPPED)
        if type_ == "complete":
            end = _event("TEXT_MESSAGE_END", **self._message) if self._has_text else b""
            return end + _event("RUN_FINISHED", **self._names)
        if type_ != "text":
            return b""
        begin = b"" if self._has_text else self._begins()
        self._has_text = True
        return begin + _event("TEXT_MESSAGE_CONTENT", **self._message, delta=data)

    def _begins(self) -> bytes:
        return _event("TEXT_MESSAGE_START", **self._message, role="assistant")


def make(thread: str = "", run: str = "") -> AgentEvents:
    """Return the format of one response. The arguments are those of `AgentEvents`."""
    return AgentEvents(thread, run)


def _event(type_: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % orjson.dumps({"type": type_, **fields})
