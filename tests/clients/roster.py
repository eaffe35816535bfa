"""The foreign clients, and what is expected of each: data only.

`QUIRKS` are what a client does as its own documentation shows it. The tests expect just that, also
where it is at fault, so that a change in a new version is noticed. The recipes in docs/clients.md
mend them, and each recipe must pass all scenarios but those that `fails` names.
"""

from __future__ import annotations

from dataclasses import dataclass, field

RETURNS, STOPS, POLLS = "comes back", "stops", "polls"
WHOLE, CHOKES = "gets it", "comes back for it for ever"


@dataclass(frozen=True)
class Client:
    """A foreign client.

    Attributes:
        name: in tables and documents.
        language: the folder of its driver.
        module: the name that its driver has there.
        source: the file of its driver, with its recipe.
        clean_end: after a clean end of a response, it comes back, or stops.
        status_204: after 204, it stops, or polls.
        large: with an event of 1 MB.
        fails: what its recipe does otherwise than the stream, by scenario.
    """

    name: str
    language: str
    module: str
    source: str
    clean_end: str = RETURNS
    status_204: str = STOPS
    large: str = WHOLE
    fails: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return its name in tests."""
        return f"{self.language}-{self.module}"


_ROSTER = (
    Client("npm `eventsource`", "js", "eventsource", "js/eventsource.mjs"),
    Client("npm `event-source-polyfill`", "js", "event-source-polyfill",
           "js/event-source-polyfill.mjs", status_204=POLLS),
    Client("npm `reconnecting-eventsource`", "js", "reconnecting-eventsource",
           "js/reconnecting-eventsource.mjs", status_204=POLLS),
    Client("npm `@microsoft/fetch-event-source`", "js", "fetch-event-source",
           "js/fetch-event-source.mjs", clean_end=STOPS, status_204=POLLS),
    Client("npm `eventsource-parser`", "js", "eventsource-parser", "js/eventsource-parser.mjs",
           clean_end=STOPS),
    Client("Python `httpx-sse`", "python", "httpx_sse_", "python/httpx_sse_.py",
           clean_end=STOPS),
    Client("Python `sseclient-py`", "python", "sseclient_py", "python/sseclient_py.py",
           clean_end=STOPS),
    Client("Python `launchdarkly-eventsource`", "python", "launchdarkly",
           "python/launchdarkly.py", clean_end=STOPS),
    Client("Go `launchdarkly/eventsource`", "go", "launchdarkly", "go/launchdarkly.go",
           status_204=POLLS),
    Client("Go `r3labs/sse`", "go", "r3labs", "go/r3labs.go",
           clean_end=STOPS, status_204=POLLS, large=CHOKES),
    Client("Go `tmaxmax/go-sse`", "go", "go-sse", "go/gosse.go", large=CHOKES),
    Client("Java `okhttp-eventsource`", "java", "okhttp-eventsource",
           "java/OkHttpEventSource.java", clean_end=STOPS),
    Client("Java `okhttp-sse`", "java", "okhttp-sse", "java/OkHttpSse.java", clean_end=STOPS),
    Client("Rust `eventsource-client`", "rust", "eventsource-client",
           "rust/src/eventsource_client.rs", clean_end=STOPS),
    Client("Rust `reqwest-eventsource`", "rust", "reqwest-eventsource",
           "rust/src/reqwest_eventsource.rs", clean_end=STOPS),
)  # fmt: skip
ROSTER = _ROSTER
"""All of them, in the order of the documents."""
