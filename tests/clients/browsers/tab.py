"""What a test does with a browser, whichever it is."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

from tests.wait import PATIENCE_S, until

# What Chromium and Firefox write about a connection that failed or was cut, or about a proxy's 502.
# WebKit writes nothing.
_LOST = re.compile(
    "net::ERR_|establish a connection to the server|CORS request did not succeed"
    "|was interrupted while the page|responded with a status of 502"
)


class ScriptError(Exception):
    """A script throws."""


class Tab(ABC):
    """An open page."""

    @abstractmethod
    async def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""

    @abstractmethod
    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression that yields a text or null.

        Raises:
            ScriptError: it throws. Other errors are the driver's own.
        """

    async def slow_down(self, bytes_s: int) -> None:
        """Let it receive so many bytes in a second from now on. Only Chromium can do it."""
        raise NotImplementedError

    async def run(self, function: str, *arguments: Any) -> Any:
        """Call a JavaScript function, given as its source, and return its result.

        Arguments and result pass through JSON, so that all browsers give the same.
        """
        given = ", ".join(map(json.dumps, arguments))
        found = await self.evaluate(f"JSON.stringify(({function})({given})) ?? null")
        return None if found is None else json.loads(found)

    async def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        return await self.run(f"() => ({expression})")

    async def sees(
        self, condition: str, otherwise: str = "null", timeout_s: float = PATIENCE_S
    ) -> None:
        """Wait until a JavaScript expression is true.

        Args:
            condition: the expression. If it throws, what it looks at is not there yet.
            otherwise: one that explains a failure.
            timeout_s: how long it waits.

        Raises:
            AssertionError: it was never true.
        """
        thrown = ""

        async def is_true() -> Any:
            nonlocal thrown
            found, thrown = await self._tried(condition)
            return found

        try:
            await until(is_true, timeout_s)
        except TimeoutError:
            why, error = await self._tried(otherwise)
            told = "; ".join(filter(None, (f"never: {condition}", thrown, str(why), error)))
            raise AssertionError(told) from None

    async def finds(self, expression: str, expected: Any) -> None:
        """Wait until a JavaScript expression has a value.

        Raises:
            AssertionError: it never had. The message compares it with the last one.
        """
        found: Any = None

        async def is_so() -> bool:
            nonlocal found
            found, thrown = await self._tried(expression)
            found = thrown or found
            return bool(found == expected)

        with suppress(TimeoutError):
            await until(is_so)
        assert found == expected

    async def _tried(self, expression: str) -> tuple[Any, str]:
        """Return the value of a JavaScript expression, or None and what it throws."""
        try:
            return await self.value(expression), ""
        except ScriptError as error:
            return None, str(error)

    async def click(self, selector: str) -> None:
        """Click an element, once it is there and enabled."""
        clicked = """(selector) => {
            const element = document.querySelector(selector);
            if (!element || element.disabled) return false;
            element.click();
            return true;
        }"""
        await until(lambda: self.run(clicked, selector))

    async def fill(self, selector: str, text: str) -> None:
        """Set the text of an input field."""
        await self.run(
            """(selector, text) => {
                const field = document.querySelector(selector);
                field.value = text;
                field.dispatchEvent(new Event("input", { bubbles: true }));
            }""",
            selector,
            text,
        )

    async def text(self, selector: str) -> str:
        """Return the visible text of an element."""
        found = await self.run("(selector) => document.querySelector(selector).innerText", selector)
        return str(found).strip()

    async def count(self, selector: str) -> int:
        """Return the number of elements that a selector finds."""
        return int(await self.run("(all) => document.querySelectorAll(all).length", selector))


class Browser(ABC):
    """A browser that runs.

    Attributes:
        name: `chromium`, `firefox` or `webkit`.
    """

    name: str

    @abstractmethod
    async def tab(self) -> Tab:
        """Open an empty tab."""

    @abstractmethod
    async def complaints(self) -> list[str]:
        """Return the errors and warnings that the pages have caused."""

    async def faults(self) -> list[str]:
        """Return the complaints that are not about a connection that failed or was cut."""
        return [text for text in await self.complaints() if not _LOST.search(text)]
