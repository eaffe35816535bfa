"""Clients of runs, as they understand what they are sent: each in the words that it knows. Pure.

All of them are written from what the documents of the formats say, and share nothing with the hub.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

SUCCESS, FAILURE, ABORT = "complete", "failed", "stopped"
"""How an answer can end for its client."""


class Told(NamedTuple):
    """A block of an event stream, with what concerns a client of a run."""

    id: str | None
    type: str
    data: str


def told(block: bytes) -> Told:
    """Interpret the lines of a block; a comment has no data."""
    id_, type_, data = None, "message", list[str]()
    for line in block.decode().split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            id_ = value
        elif name == "event":
            type_ = value
        elif name == "data":
            data.append(value)
    return Told(id_, type_, "\n".join(data))


class Hearer:
    """What a client has of one answer.

    Attributes:
        text: that it shows.
        end: how the answer has ended for it; empty while it has not.
        wrong: what it was sent against the rules of its format.
    """

    goes_on = False
    """True if it goes on where a response was cut; otherwise the next one has all of it again."""

    def __init__(self) -> None:
        self.text = ""
        self.end = ""
        self.wrong: list[str] = []

    def begin(self) -> None:
        """Note that a response begins."""
        if not self.goes_on:
            self.text = ""

    def take(self, block: Told) -> bool:
        """Take a block. Return True if it is of the answer, or says that the client is up to date.
        """  # fmt: skip
        raise NotImplementedError


class Native(Hearer):
    """An `EventSource` that knows the hub's own events."""

    goes_on = True

    def __init__(self) -> None:
        super().__init__()
        self.last_id = ""

    def take(self, block: Told) -> bool:
        """Take a block."""
        if block.id is not None:
            self.last_id = block.id
        match block.type:
            case "text":
                if self.end:
                    self.wrong.append("a text after the end")
                self.text += block.data
            case "stream.restart" | "stream.state":
                self.text = ""
            case "stream.reset":
                self.wrong.append(f"a reset: {block.data}")
            case "complete" | "failed" | "stopped" as end:
                if self.end:
                    self.wrong.append(f"{end} after {self.end}")
                self.end = end
        return block.type in ("text", "complete", "failed", "stopped", "stream.live")


class Bare(Hearer):
    """A client that knows the channel's events and no others."""

    def take(self, block: Told) -> bool:
        """Take a block."""
        if block.id is not None or block.type.startswith("stream."):
            self.wrong.append(f"{block.type} with the id {block.id}")
        if block.type == "text":
            self.text += block.data
        elif block.type in ("complete", "failed", "stopped"):
            self.end = block.type
        return bool(block.data)


class AiSdk(Hearer):
    """npm `ai`: `start` replaces the message, and only a `finish` that says `stop` is success."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []

    def begin(self) -> None:
        """Note that a response begins; its `start` replaces the message."""
        self._parts = []

    def take(self, block: Told) -> bool:
        """Take a block."""
        if block.data in ("", "[DONE]"):
            return False
        part: dict[str, Any] = orjson.loads(block.data)
        kind: str = part["type"]
        if (kind == "start") is bool(self._parts):
            self.wrong.append(f"{kind} after {self._parts[-1:]}")
        self._parts.append(kind)
        match kind:
            case "start":
                self.text = ""
            case "text-delta":
                if "text-start" not in self._parts:
                    self.wrong.append("text-delta before text-start")
                self.text += part["delta"]
            case "error":
                self.end = FAILURE
            case "abort":
                self.end = ABORT
            case "finish" if part["finishReason"] == "stop":
                self.end = SUCCESS
        return kind != "start"


class OpenAi(Hearer):
    """A client of the Responses API, which goes on after the number of the last event it has.

    Attributes:
        last: that number; -1 for none.
    """

    goes_on = True

    def __init__(self) -> None:
        super().__init__()
        self.last = -1

    def anew(self) -> None:
        """Forget what it has, since the answer has begun anew."""
        self.text, self.last = "", -1

    def take(self, block: Told) -> bool:
        """Take a block."""
        if not block.data:
            return False
        event: dict[str, Any] = orjson.loads(block.data)
        number, kind = event["sequence_number"], event["type"]
        if self.last >= 0 and number != self.last + 1:
            self.wrong.append(f"{kind} has the number {number} after {self.last}")
        self.last = number
        match kind:
            case "response.output_text.delta":
                self.text += event["delta"]
            case "response.output_text.done" if event["text"] != self.text:
                self.wrong.append("the text of response.output_text.done is another one")
            case "response.completed":
                self.end = SUCCESS
            case "response.failed":
                self.end = FAILURE
            case "response.incomplete":
                self.end = ABORT
        return True


KINDS: dict[str, type[Hearer]] = {
    "native": Native,
    "bare": Bare,
    "ai-sdk": AiSdk,
    "openai": OpenAi,
}
"""The clients, by name."""
