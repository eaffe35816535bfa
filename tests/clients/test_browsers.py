"""The three browsers do what the tests ask of them, and tell what a page complains about."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from broadcaster.backend.embedded import free_port
from tests.clients.browsers import Browser

PAGE = "data:text/html," + quote("""<!doctype html>
<input id=field>
<button onclick="this.textContent = document.getElementById('field').value">none</button>
<b hidden>1</b><b>2</b>
<script>setTimeout(() => { window.later = [1, { a: null }]; }, 100);</script>
""")


async def test_a_page_is_used_as_by_a_person(browser: Browser) -> None:
    tab = await browser.tab()
    await tab.open(PAGE)
    await tab.sees("window.later !== undefined")
    assert await tab.value("later") == [1, {"a": None}]
    assert await tab.run("(a, b) => a.text + b", {"text": "it's “"}, 1) == "it's “1"
    assert await tab.value("undefined") is None
    await tab.fill("#field", "Ada")
    await tab.click("button")
    assert await tab.text("button") == "Ada"
    assert await tab.count("b") == 2
    assert await browser.complaints() == []


async def test_what_throws_is_not_seen_yet(browser: Browser) -> None:
    tab = await browser.tab()
    await tab.open(PAGE)
    await tab.sees("later.at(0) === 1")
    with pytest.raises(AssertionError, match=r"(?s)never: later.at\(9\).a; .*undefined.*; said$"):
        await tab.sees("later.at(9).a", "'said'", timeout_s=0.1)
    with pytest.raises(AssertionError, match=r"never: false; .*undefined"):
        await tab.sees("false", "later.at(9).a", timeout_s=0.1)
    assert await browser.complaints() == []


async def test_each_tab_has_a_page_of_its_own(browser: Browser) -> None:
    tabs = [await browser.tab() for _ in range(3)]
    for number, tab in enumerate(tabs):
        await tab.open(PAGE)
        await tab.run("(number) => { window.number = number; }", number)
    assert [await tab.value("number") for tab in tabs] == [0, 1, 2]
    assert [await tab.value("document.hidden") for tab in tabs] == [False] * 3


@pytest.mark.parametrize(
    "fault",
    [
        "console.error('broken')",
        "console.warn('broken')",
        "setTimeout(() => { throw new Error('broken'); })",
        "setTimeout(() => { Promise.reject(new Error('broken')); })",
    ],
)
async def test_complaints_are_kept(browser: Browser, fault: str) -> None:
    tab = await browser.tab()
    await tab.open(
        PAGE + quote(f"""<i onclick="{fault}; setTimeout(() => {{ done = 1; }}, 50)">""")
    )
    await tab.click("i")
    await tab.sees("window.done")
    (complaint,) = await browser.complaints()
    assert "broken" in complaint
    await tab.open(PAGE)
    assert await browser.faults() == [complaint]


async def test_a_lost_connection_is_a_complaint_but_no_fault(browser: Browser) -> None:
    tab = await browser.tab()
    await tab.open(PAGE)
    await tab.run(
        "(url) => { new EventSource(url).onerror = () => { window.lost = true; }; }",
        f"http://127.0.0.1:{free_port()}/",
    )
    await tab.sees("window.lost")
    assert await browser.faults() == []
