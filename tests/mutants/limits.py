"""Mutants of what a node lets in: TLS, limits, and the headers of its answers."""

from __future__ import annotations

from tests.mutants import Mutant

_TLS = "broadcaster/web/uvicorn/tls.py"
_TLS_TESTS = "tests/web/uvicorn/test_tls.py::"
_FILES = "tests/settings/test_files.py::"
_LIMITS = "tests/node/test_limits.py::"
_SPREAD = "broadcaster/web/spread.py"
_SPREAD_TESTS = "tests/web/test_spread.py::"
_BOUNDED = "broadcaster/web/uvicorn/bounded.py"
_BOUNDS = "tests/web/uvicorn/test_bounded.py::"
_OPEN = "broadcaster/web/uvicorn/open_connections.py"
_OPEN_TESTS = "tests/web/uvicorn/test_open_connections.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "spread: all calls are made in one turn",
        _SPREAD,
        "        if self._waiting or self.taken >= self.per_turn:",
        "        if False:",
        (_SPREAD_TESTS + "test_calls_are_made_in_order_a_few_in_each_turn",),
    ),
    Mutant(
        "spread: a call overtakes those that wait",
        _SPREAD,
        "        if self._waiting or self.taken >= self.per_turn:",
        "        if self.taken >= self.per_turn:",
        (_SPREAD_TESTS + "test_a_call_overtakes_none_that_wait",),
    ),
    Mutant(
        "spread: an error in a call ends all turns",
        _SPREAD,
        "            if self._waiting:\n",
        "            if False:\n",
        (_SPREAD_TESTS + "test_a_call_that_fails_holds_up_no_other",),
    ),
    Mutant(
        "bell: all clients that are lost are ended in one turn",
        "broadcaster/web/sink.py",
        "                self._spread.call(self._resume)",
        "                self._resume()",
        (_SPREAD_TESTS + "test_few_of_a_herd_are_served_or_freed_in_a_turn",),
    ),
    Mutant(
        "endpoint: all that wait for a window are served in one turn",
        "broadcaster/web/endpoint.py",
        "        await self._spread.turn()",
        "        pass",
        (_SPREAD_TESTS + "test_few_of_those_that_wait_for_a_window_are_served_in_a_turn",),
    ),
    Mutant(
        "bounded: all requests that come at once are parsed in one turn",
        _BOUNDED,
        "self._spread.taken < self._spread.per_turn:",
        "True:",
        (_BOUNDS + "test_a_request_waits_for_its_turn_and_nothing_more_is_read_meanwhile",),
    ),
    Mutant(
        "bounded: a connection with many requests takes no more of a turn than others",
        _BOUNDED,
        "        self._spread.taken += 1\n",
        "",
        (_BOUNDS + "test_each_request_of_a_connection_takes_a_place",),
    ),
    Mutant(
        "bounded: a request that has waited takes a place for its wait too",
        _BOUNDED,
        "        self._spread.taken -= 1  # each request in it takes a place of its own\n",
        "",
        (_BOUNDS + "test_a_request_that_has_waited_takes_one_place",),
    ),
    Mutant(
        "bounded: a connection rests while its request waits for its turn",
        _BOUNDED,
        "_Phase.BETWEEN and not self._held:",
        "_Phase.BETWEEN:",
        (_BOUNDS + "test_a_connection_whose_request_waits_for_its_turn_does_not_rest",),
    ),
    Mutant(
        "bounded: the keep-alive time of an answer cuts the request behind it",
        _BOUNDED,
        "            self._unset_keepalive_if_required()\n            self._opened.expect(self)",
        "            self._opened.expect(self)",
        (_BOUNDS + "test_a_connection_whose_request_waits_for_its_turn_does_not_rest",),
    ),
    Mutant(
        "bounded: the bytes behind those that wait are lost",
        _BOUNDED,
        "            self._held += data",
        "            pass",
        (_BOUNDS + "test_a_request_waits_for_its_turn_and_nothing_more_is_read_meanwhile",),
    ),
    Mutant(
        "bounded: a connection that had to wait is not read on",
        _BOUNDED,
        "        if not self.flow.read_paused:\n            self.transport.resume_reading()\n",
        "",
        (_BOUNDS + "test_each_request_of_a_connection_takes_a_place",),
    ),
    Mutant(
        "open connections: all whose time is over are closed in one turn",
        _OPEN,
        "            self.spread.call(partial(self._give_up, connection))",
        "            self._give_up(connection)",
        (_OPEN_TESTS + "test_few_connections_are_closed_in_a_turn",),
    ),
    Mutant(
        "open connections: a request that comes late is cut",
        _OPEN,
        "        if self._expected.get(connection, math.inf) <= time.monotonic():",
        "        if True:",
        (_OPEN_TESTS + "test_a_request_that_comes_before_its_connection_is_closed_is_served",),
    ),
    Mutant(
        "tls: a certificate is read while its files are being written",
        "broadcaster/web/uvicorn/certificate.py",
        "self._files.changed(settled=True)",
        "self._files.changed()",
        (
            "tests/web/uvicorn/test_certificate.py::"
            "test_a_new_certificate_that_cannot_work_leaves_the_old_one_and_is_logged_once",
        ),
    ),
    Mutant(
        "files: a pipe is waited for",
        "broadcaster/settings/files.py",
        'return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))',
        "return os.open(path, flags)",
        (_FILES + "test_a_pipe_is_not_waited_for",),
    ),
    Mutant(
        "files: one that could not be read is not read again before it changes",
        "broadcaster/settings/files.py",
        "            self._taken = None\n",
        "            pass\n",
        (_FILES + "test_a_file_that_could_not_be_read_is_read_again_without_a_change",),
    ),
    Mutant(
        "files: a change of rights is no change",
        "broadcaster/settings/files.py",
        "status.st_mtime_ns, status.st_ctime_ns",
        "status.st_mtime_ns, 0",
        (_FILES + "test_a_change_of_rights_is_a_change",),
    ),
    Mutant(
        "tls: an answer ends without a goodbye",
        _TLS,
        "            self._tls.unwrap()",
        "            pass",
        (_TLS_TESTS + "test_an_answer_over_tls_ends_with_a_goodbye",),
    ),
    Mutant(
        "tls: what is written to a client that has broken TLS is an error",
        _TLS,
        "        self._closing = True\n        if self._socket.get_write_buffer_size():",
        "        if False:",
        (_TLS_TESTS + "test_a_client_that_breaks_tls_while_it_does_not_read_delays_no_other",),
    ),
    Mutant(
        "tls: a client that does not read fills the memory with updates of keys",
        _TLS,
        "if self._outgoing.pending and self._paused:",
        "if False:",
        (
            _TLS_TESTS
            + "test_what_tls_answers_by_itself_is_not_kept_for_a_client_that_does_not_read",
        ),
    ),
    Mutant(
        "tls: a client that leaves within the handshake keeps its place",
        _TLS,
        "if waiting := self._leave():\n            waiting.opened.meters.refused[Refusal.TLS]",
        "if waiting := self._waiting:\n            waiting.opened.meters.refused[Refusal.TLS]",
        (_TLS_TESTS + "test_a_client_that_leaves_within_the_handshake_frees_its_place",),
    ),
    Mutant(
        "headers: an answer has none of those that every answer has",
        "broadcaster/web/problem.py",
        "        self.raw_headers += SAFE",
        "        self.raw_headers += ()",
        ("tests/web/test_showcase.py::test_every_answer_has_the_headers_of_every_answer",),
    ),
    Mutant(
        "headers: other sites may show the page in a frame",
        "broadcaster/web/showcase.py",
        "        \"frame-ancestors 'none'\",\n",
        "",
        (
            "tests/web/test_showcase.py::"
            "test_the_policy_allows_what_is_in_the_page_and_nothing_else",
        ),
    ),
    Mutant(
        "limits: a stream that has ended keeps its place",
        "broadcaster/web/endpoint.py",
        "                limits.free(owners(scope, answer))",
        "                    pass",
        (
            "tests/node/test_ends.py::"
            "test_nothing_stays_taken_when_a_stream_ends[transport-the client closes]",
        ),
    ),
    Mutant(
        "limits: the streams at other nodes do not count",
        "broadcaster/core/access/stream_counts.py",
        " + self._elsewhere.get(known, 0) >= self.most",
        " >= self.most",
        (
            "tests/core/access/test_stream_counts.py::"
            "test_the_streams_of_other_nodes_count_until_they_tell_something_else",
        ),
    ),
    Mutant(
        "limits: other nodes' streams count for ever while Redis is away",
        "broadcaster/node/registry.py",
        "if failures == _FORGOTTEN:",
        "if failures < 0:",
        (_LIMITS + "test_other_nodes_are_forgotten_while_redis_is_away",),
    ),
    Mutant(
        "limits: operators are shown what nodes tell each other",
        "broadcaster/node/registry.py",
        '_OURS = ("public_name", "reasons", _COUNTS, _FIGURES, FOLLOWED)',
        '_OURS = ("public_name", "reasons")',
        (_LIMITS + "test_streams_count_over_all_nodes_and_nothing_shows_an_address",),
    ),
    Mutant(
        "limits: a replay is not slowed",
        "broadcaster/web/connection.py",
        "        if not self._owed_s:",
        "        if self._owed_s:",
        (_LIMITS + "test_a_replay_is_slowed_and_loses_nothing",),
    ),
    Mutant(
        "limits: a request may have any number of keys",
        "broadcaster/web/dialects/native.py",
        "    if len(keys) > most.keys:",
        "    if not most.keys:",
        (_LIMITS + "test_a_request_that_asks_for_too_much_is_refused_for_good",),
    ),
    Mutant(
        "limits: nodes of one host name and port overwrite each other's counts",
        "broadcaster/node/registry.py",
        "{gethostname()}:{settings.port}-{secrets.token_hex(4)}",
        "{gethostname()}:{settings.port}",
        ("tests/node/test_registry.py::test_nodes_that_have_no_name_do_not_take_each_others_line",),
    ),
)
