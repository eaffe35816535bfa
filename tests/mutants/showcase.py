"""Mutants of the page, of what it is told, and of what the demo does for it."""

from __future__ import annotations

from tests.mutants import Mutant

_SHOWCASE = "tests/web/test_showcase.py::"
_OPERATIONS = "tests/web/test_operations.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "demo: the documents have no types of the pet store's events",
        "broadcaster/commands/demo_access.py",
        "schemas=schemas(one.name)",
        "schemas={}",
        (
            "tests/commands/test_pet_store.py::"
            "test_a_client_that_is_made_of_the_documents_knows_that_a_stock_is_a_number",
        ),
    ),
    Mutant(
        "answers: a page of another site gets the token of the demo's page",
        "broadcaster/web/replies.py",
        'if request.headers.get("sec-fetch-site") != "same-origin":',
        "if False:",
        (_SHOWCASE + "test_the_token_of_the_page_is_for_that_page_alone",),
    ),
    Mutant(
        "demo: it makes tokens where other machines reach it",
        "broadcaster/commands/demo_access.py",
        "if not is_loopback(host):",
        "if False:",
        (
            "tests/commands/test_demo_access.py::"
            "test_only_a_demo_on_a_loopback_address_makes_tokens",
        ),
    ),
    Mutant(
        "showcase: the page has any file of its directory",
        "broadcaster/web/showcase.py",
        "    if name not in _modules():",
        "    if not name:",
        (_SHOWCASE + "test_its_modules_are_served_and_nothing_beside_them",),
    ),
    Mutant(
        "operations: each look is kept",
        "broadcaster/node/operations.py",
        "keep = now_s - self._kept_s >= _KEPT_EACH_S",
        "keep = True",
        ("tests/node/test_operations.py::test_ten_minutes_are_kept_a_look_in_five_seconds",),
    ),
    Mutant(
        "operations: a stream for operators outlives its node",
        "broadcaster/web/operations.py",
        "while not sink.closed and not node.draining:",
        "while not sink.closed:",
        (_OPERATIONS + "test_it_ends_when_the_node_does_and_newcomers_come_back_later",),
    ),
    Mutant(
        "operations: there is no bound of the streams for operators",
        "broadcaster/web/operations.py",
        "if len(node.operations.viewers) >= MOST_VIEWERS:",
        "if False:",
        (_OPERATIONS + "test_there_are_only_so_many",),
    ),
    Mutant(
        "desk: an order is placed twice",
        "workers/desk.py",
        "if await redis.hexists(OPEN, order_id):",
        "if False:",
        ("tests/workers/test_desk.py::test_an_order_is_placed_once_and_goes_its_way",),
    ),
    Mutant(
        "page: a change that does not follow is not noticed",
        "broadcaster/web/pages/ledger.js",
        "    if (same(known.value, from)) return true;",
        "    if (known) return true;",
        ("tests/e2e/test_page.py::test_it_flags_a_change_that_does_not_follow[chromium]",),
    ),
    Mutant(
        "page: a value of a state is compared as if it were an event",
        "broadcaster/web/pages/ids.js",
        "    const isState = this.#ofState !== null;",
        "    const isState = false;",
        (_SHOWCASE + "test_values_of_a_state_are_of_its_channel_and_have_no_id",),
    ),
)
