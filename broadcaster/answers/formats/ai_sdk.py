"""The format of the AI SDK of Vercel, npm `ai`: UI message streams. Pure.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol#data-stream-protocol
"""

from __future__ import annotations

from typing import Any

import orjson

from broadcaster.core.run import FAILED, STOPPED

_TEXT_ID = "0"
_DONE = b"data: [DONE]\n\n"


class UiMessages:
    """One message of an assistant, as the parts of a UI message stream."""

    headers = (
        (b"content-type", b"text/event-stream"),
        (b"x-vercel-ai-ui-message-stream", b"v1"),
    )

    def __init__(self) -> None:
        self._has_text = False

    def begin(self, run: str, began_ms: int) -> bytes:
        """Return the start of the message. A client that has a part of it replaces that part."""
        return _part({"type": "start", "messageId": run})

    def event(self, type_: str, data: str) -> bytes:
        """Return the parts of the message that stand for one event of the run."""
        if type_ == FAILED:
            reason = orjson.loads(data)["reason"]
            return _part({"type": "error", "errorText": reason}) + _DONE
        if type_ == STOPPED:
            return _part({"type": "abort"}) + _finish("other")
        if type_ == "complete":
            end = _part({"type": "text-end", "id": _TEXT_ID}) if self._has_text else b""
            return end + _finish("stop")
        if type_ != "text":
            return b""
        begin = b"" if self._has_text else _part({"type": "text-start", "id": _TEXT_ID})
        self._has_text = True
        return begin + _part({"type": "text-delta", "id": _TEXT_ID, "delta": data})


def _finish(reason: str) -> bytes:
    """Return the end of a message. Without a reason, `useChat` can't tell an end from a cut.

    A part `abort` alone leaves no trace in a chat of `ai`.
    """
    return _part({"type": "finish", "finishReason": reason}) + _DONE


def make() -> UiMessages:
    """Return the format of one response."""
    return UiMessages()


def _part(part: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(part)
