"""A customer's page, of another origin than the hub's: what it opens, and what it gets."""

from __future__ import annotations

import json
from typing import Any

from tests.clients.browsers import Tab
from tests.web.tokens.issuers import SECRET, token

_AT_ONCE = 10  # attempts, so that a wait is for few of them

CHANNELS = {
    "orders": {"path": "/v1/orders/{key}/status/stream", "start": "earliest"},
    "recommendations": {"path": "/v1/pets/recommendations/stream", "start": "earliest"},
    "inventory": {"path": "/v1/inventory/stream", "start": "earliest", "access": "public"},
}

_PAGE = """(hub) => {
  window.feeds = [];
  // An event source, and what it has got.
  window.watch = (path, withCredentials = false) => {
    const feed = new EventSource(hub + path, { withCredentials });
    const kept = { feed, seen: [], ids: [], lastId: "", opens: 0, live: false, expired: [] };
    feed.onopen = () => { kept.opens += 1; };
    feed.onmessage = (event) => {
      kept.seen.push(event.data);
      kept.ids.push(kept.lastId = event.lastEventId);
    };
    feed.addEventListener("stream.live", (event) => {
      kept.lastId = event.lastEventId;
      kept.live = true;
      kept.settle?.();
    });
    feed.addEventListener("stream.expired", () => { kept.expired.push(Date.now()); });
    feed.onerror = () => {
      kept.live = false;
      if (feed.readyState === EventSource.CLOSED) kept.settle?.();
    };
    feeds.push(kept);
    return kept;
  };
  window.isClosed = (kept) => kept.feed.readyState === EventSource.CLOSED;
  window.shown = ({ seen, opens, expired, feed }) => (
    { seen, opens, expired: expired.length, state: feed.readyState });

  // What an event source has got when it is live; "closed" if it has given up.
  window.byEventSource = (path, withCredentials) => new Promise((resolve) => {
    const kept = watch(path, withCredentials);
    kept.settle = () => {
      resolve(kept.live ? kept.seen.sort() : "closed");
      kept.feed.close();
    };
  });
  // The same by `fetch`, which can tell the status and send a header.
  window.byFetch = async (path, withCredentials, headers, method = "GET") => {
    const credentials = withCredentials ? "include" : "omit", leaving = new AbortController();
    let answer;
    try {
      answer = await fetch(hub + path, { credentials, headers, method, signal: leaving.signal });
    } catch {
      return "unreadable";
    }
    if (answer.status !== 200) return answer.status;
    if (answer.headers.get("content-type") === "application/json") return answer.json();
    const reader = answer.body.getReader(), decoder = new TextDecoder();
    let text = "";
    while (!text.includes("event: stream.live")) {
      const { value, done } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
    leaving.abort();  // after `reader.cancel()`, Firefox keeps the connection for ten seconds
    return [...text.matchAll(/^data: (\\w.*)$/gm)].map((match) => match[1]).sort();
  };

  // Follows her orders as docs/private-streams.md shows it.
  Object.assign(window, { got: [], lastId: "", tickets: 0, given_up: 0, ends: 0 });
  window.follow = async (token) => {
    let ticket;
    try {
      const headers = { Authorization: `Bearer ${token}` };
      const path = "/v1/tickets?channel=orders";
      const answer = await (await fetch(hub + path, { method: "POST", headers })).json();
      ticket = answer.ticket;
      ends = Date.now() + answer.expires_in_s * 1000;
    } catch {
      setTimeout(follow, 50, token);
      return;
    }
    tickets += 1;
    const kept = watch(`/v1/events?channel=orders&ticket=${ticket}&lastEventId=${lastId}`);
    const { feed } = kept;
    feed.addEventListener("message", (event) => { got.push(lastId = event.lastEventId); });
    feed.addEventListener("stream.live", (event) => { lastId = event.lastEventId; });
    feed.addEventListener("error", () => {
      if (isClosed(kept)) {
        given_up += 1;
        setTimeout(follow, 50, token);
      }
    });
  };
}"""


class Customer:
    """Ann's page in a tab."""

    def __init__(self, tab: Tab, hub: str) -> None:
        self.tab = tab
        self.hub = hub

    async def begin(self) -> None:
        """Let the page define what it does."""
        await self.tab.run(_PAGE, self.hub)

    async def result(self, call: str, *arguments: Any) -> Any:
        """Call an async function of the page, and return its result."""
        given = ", ".join(map(json.dumps, arguments))
        await self.tab.run(
            f"""() => {{
                window.result = undefined;
                ({call})({given}).then(
                    (value) => {{ result = {{ value }}; }},
                    (error) => {{ result = {{ error: String(error) }}; }});
            }}"""
        )
        await self.tab.sees("result !== undefined")
        result = await self.tab.value("result")
        assert "error" not in result, result
        return result["value"]

    async def get(self, path: str, *, cookies: bool = False, **headers: str) -> Any:
        """Return what `fetch` gets: data of events, a document, or a status that is not 200."""
        return await self.result("byFetch", path, cookies, headers)

    async def tries(self, attempts: list[tuple[Any, ...]]) -> list[Any]:
        """Call functions of the page one after the other: their names, and arguments."""
        call = """async (attempts) => {
            const results = [];
            for (const [name, ...given] of attempts) results.push(await window[name](...given));
            return results;
        }"""
        results = list[Any]()
        for start in range(0, len(attempts), _AT_ONCE):
            results += await self.result(call, attempts[start : start + _AT_ONCE])
        return results

    async def ticket(self, bearer: str) -> str:
        """Return a ticket for Ann's orders."""
        headers = {"Authorization": f"Bearer {bearer}"}
        path = "/v1/tickets?channel=orders"
        return str((await self.result("byFetch", path, False, headers, "POST"))["ticket"])

    async def watches(self, path: str, **options: Any) -> None:
        """Open a further event source, and wait until it is live."""
        await self.tab.run("(path, options) => { watch(path, options); }", path, options)
        await self.tab.sees("feeds.at(-1).live", "feeds.map(shown)")


def hers(**claims: Any) -> str:
    """Return Ann's token, for her order."""
    return token(**{"sub": "ann", "broadcaster": {"subscribe": ["orders:7"]}, **claims})


def settings(origin: str) -> dict[str, Any]:
    """Return the settings of a shop's nodes, whose pages are of another origin."""
    return {
        "channels": CHANNELS,
        "token_secrets": [SECRET],
        "token_cookie": "session",
        "cors_origins": [origin],
        "cors_credentials": True,
    }


def changes(origin: str) -> dict[str, dict[str, str]]:
    """Return what an operator of that shop sets at HAProxy."""
    return {"haproxy": {"CORS_ORIGINS": origin, "CORS_CREDENTIALS": "true"}}
