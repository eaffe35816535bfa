"""Mutants of publishing over HTTP: its bounds, and the right to it."""

from __future__ import annotations

from tests.mutants import Mutant

_PERMIT = "broadcaster/web/publishing/permit.py"
_PERMITS = "tests/web/publishing/test_permit.py::"
_ONCE = "broadcaster/backend/publishing/idempotency.py"
_ONCES = "tests/backend/publishing/test_idempotency.py::"
_SCHEMA = "broadcaster/core/json/schema.py"
_SCHEMAS = "tests/core/json/test_schema.py::"
_HTTP = "tests/web/publishing/test_endpoint.py::"
_BODY = "tests/web/test_body.py::"
_LINES = "tests/web/publishing/test_lines.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "bounded: the body of a POST is counted as what nothing reads",
        "broadcaster/web/uvicorn/bounded.py",
        """len(self.answering) == 1:
            self._fed = 0
        super().on_body(body)""",
        """len(self.answering) == 1:
            pass
        super().on_body(body)""",
        (_HTTP + "test_a_large_body_comes_whole_however_it_is_sent",),
    ),
    Mutant(
        "schema: whole numbers written with a point are none",
        _SCHEMA,
        "if isinstance(value, Decimal) and has_whole_floats:",
        "if False:",
        (_SCHEMAS + "test_values_are_compared_as_they_are_written",),
    ),
    Mutant(
        "schema: numbers are floats",
        _SCHEMA,
        "parse_float=Decimal, parse_int=_whole,",
        "",
        (_SCHEMAS + "test_values_are_compared_as_they_are_written",),
    ),
    Mutant(
        "schema: a reference is found out at the first event",
        _SCHEMA,
        "    _check_references(exact, named)\n",
        "",
        (_SCHEMAS + "test_a_schema_that_can_not_be_used_is_refused",),
    ),
    Mutant(
        "schema: data is checked that a publisher has not made to text",
        "broadcaster/backend/publishing/outgoing.py",
        "            data = text_of(data)\n",
        "            data = str(data)\n",
        (
            "tests/backend/publishing/test_publisher.py::test_data_that_does_not_fit_its_schema_is_refused",
        ),
    ),
    Mutant(
        "schema: large data is checked in the event loop",
        "broadcaster/web/publishing/checking.py",
        "if len(event.data) > _LARGE:",
        "if False:",
        (
            "tests/web/publishing/test_checking.py::test_large_data_is_checked_while_others_are_served",
        ),
    ),
    Mutant(
        "kept: a broken file takes its value away",
        "broadcaster/settings/kept.py",
        "            trouble = _why(error)\n",
        "            raise\n",
        ("tests/settings/test_kept.py::test_a_file_that_breaks_keeps_its_value_until_it_is_whole",),
    ),
    Mutant(
        "permit: the policy sees cookies",
        _PERMIT,
        'if name != "cookie"}',
        "if name}",
        (_PERMITS + "test_the_policy_sees_no_cookie",),
    ),
    Mutant(
        "permit: some keys are enough for events without one",
        _PERMIT,
        "if not asked and keys:",
        "if False:",
        (_PERMITS + "test_keys_beyond_a_grant_are_refused",),
    ),
    Mutant(
        "permit: a key `*` is every key",
        _PERMIT,
        "self._covers_all = EVERY in (grant.keys or ())",
        "self._covers_all = EVERY in self._covered",
        (_PERMITS + "test_a_key_that_looks_like_every_key_is_one",),
    ),
    Mutant(
        "permit: a revoked token publishes",
        _PERMIT,
        "if self._node.revoking.concerns(holder):",
        "if False:",
        (_PERMITS + "test_a_grant_that_ends_or_is_revoked_ends_what_was_granted",),
    ),
    Mutant(
        "once: an event without an answer is stored twice",
        _ONCE,
        "if known and #known > #ARGV[1] then return known end",
        "if false then return known end",
        (_ONCES + "test_an_event_with_a_key_is_stored_once",),
    ),
    Mutant(
        "once: events are added before the marker may be set",
        _ONCE,
        'redis.call("SET", KEYS[2], ARGV[1], "PX", ARGV[2])\nlocal',
        "local",
        (_ONCES + "test_what_may_not_set_a_marker_adds_nothing",),
    ),
    Mutant(
        "once: a key is used again in another shard",
        _ONCE,
        "        if self._home:\n",
        "        if False:\n",
        (_ONCES + "test_other_events_are_refused_also_in_another_shard",),
    ),
    Mutant(
        "once: a key is that of all senders",
        _ONCE,
        '"\\0".join((subject, channel, key))',
        '"\\0".join(("", channel, key))',
        (_ONCES + "test_the_keys_of_a_sender_are_its_own",),
    ),
    Mutant(
        "publishing: of two idempotency keys the first counts",
        "broadcaster/web/publishing/endpoint.py",
        "    if len(found) > 1 or not",
        "    if not",
        (_HTTP + "test_a_key_that_can_not_be_meant_publishes_nothing",),
    ),
    Mutant(
        "publishing: an empty idempotency key is none",
        "broadcaster/web/publishing/endpoint.py",
        "not 0 < len(found[0]) <=",
        "not 0 <= len(found[0]) <=",
        (_HTTP + "test_a_key_that_can_not_be_meant_publishes_nothing",),
    ),
    Mutant(
        "cloudevents: a space in a source makes the id of another event",
        "broadcaster/core/json/cloudevents.py",
        "f\"{len(named['source'])} {named['source']} ",
        "f\"{named['source']} ",
        ("tests/core/json/test_cloudevents.py::test_other_sources_and_ids_are_other_events",),
    ),
    Mutant(
        "once: a key is UTF-8",
        _ONCE,
        'encode(errors="surrogatepass")',
        "encode()",
        (_HTTP + "test_an_event_with_an_id_is_published_once",),
    ),
    Mutant(
        "body: the rest of one that is refused stays unread",
        "broadcaster/web/body.py",
        "            await self._drop_rest()\n",
        "",
        (_BODY + "test_an_answer_to_a_long_body_arrives_whatever_it_is",),
    ),
    Mutant(
        "routes: an answer does not wait for a long body",
        "broadcaster/web/routes.py",
        'if scope["method"] == "POST" and may_be_long(scope):',
        "if False:",
        (_BODY + "test_an_answer_to_a_long_body_arrives_whatever_it_is",),
    ),
    Mutant(
        "routes: publishing goes around a middleware",
        "broadcaster/web/routes.py",
        "return None if self.user_middleware else (self._publish, None)",
        "return self._publish, None",
        ("tests/web/test_mounted.py::test_a_middleware_that_is_added_sees_all_but_event_streams",),
    ),
    Mutant(
        "body: after a refusal a client sends all of a long body",
        "broadcaster/web/body.py",
        "_closing(message) if refuses and self._closes else message",
        "message",
        (_BODY + "test_the_rest_of_a_long_body_is_dropped_before_its_answer_ends",),
    ),
    Mutant(
        "incoming: data of a line in the usual form need not be JSON",
        "broadcaster/core/json/incoming.py",
        "        value = orjson.loads(data)\n",
        "        value = None\n",
        (
            "tests/core/json/test_incoming.py::test_what_is_not_json_is_refused",
            "tests/core/json/test_incoming.py::test_what_is_no_event_is_refused",
        ),
    ),
    Mutant(
        "lines: a line before one that is refused is lost",
        "broadcaster/web/publishing/lines.py",
        "                    return count, refusal\n",
        "                    return 0, refusal\n",
        ("tests/web/publishing/test_lines.py::test_the_first_line_that_is_wrong_ends_the_answer",),
    ),
    Mutant(
        "hub publisher: an attempt has a key of its own",
        "broadcaster/commands/hub_publisher.py",
        "                answer = self._http.post(path, content=body, headers=headers)\n",
        "                answer = self._http.post(\n"
        "                    path,\n"
        "                    content=body,\n"
        '                    headers={**headers, "idempotency-key": str(uuid4())},\n'
        "                )\n",
        (
            "tests/commands/test_hub_publisher.py::"
            "test_a_lost_answer_and_a_hub_that_is_away_are_tried_again_with_the_same_key",
        ),
    ),
    Mutant(
        "lines: the id of an event is ignored beside the key of the request",
        "broadcaster/web/publishing/lines.py",
        'f"id:{event.id}" if event.id else f"line',
        'f"line',
        (
            "tests/web/publishing/test_lines.py::test_the_id_of_a_line_is_its_key_whatever_its_number",
        ),
    ),
    Mutant(
        "direct publisher: the id of an event is ignored",
        "broadcaster/commands/direct_publisher.py",
        "for one in publications(channel, events)",
        'for one in publications(channel, [event._replace(id="") for event in events])',
        ("tests/commands/test_direct_publisher.py::test_an_event_with_an_id_is_stored_once",),
    ),
    Mutant(
        "hub publisher: the ids of lines after a refused one move up",
        "broadcaster/commands/hub_publisher.py",
        "ids = [by_line.get(number) for number in range(1, len(events) + 1)]",
        "ids = [*by_line.values(), *[None] * (len(events) - len(by_line))]",
        (
            "tests/commands/test_hub_publisher.py::"
            "test_the_line_that_is_refused_has_no_id_though_later_ones_have",
        ),
    ),
    Mutant(
        "publishing: a place is never freed",
        "broadcaster/web/publishing/endpoint.py",
        "    held.callback(free)",
        "    held.callback(lambda: None)",
        (_HTTP + "test_limits_hold_for_requests_that_publish",),
    ),
    Mutant(
        "publishing: an event that nodes leave out is published",
        "broadcaster/web/publishing/checking.py",
        "size = size_of(event.type, event.key, event.data)\n",
        "size = len(event.data.encode(errors='replace'))\n",
        (_HTTP + "test_a_body_that_is_not_all_events_publishes_nothing",),
    ),
    Mutant(
        "publishing: an event that is too large for nodes is published",
        "broadcaster/web/publishing/checking.py",
        "        if size > self._most_bytes:\n",
        "        if False:\n",
        (_HTTP + "test_a_body_that_is_not_all_events_publishes_nothing",),
    ),
)
