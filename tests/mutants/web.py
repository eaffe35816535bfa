"""Mutants of `web`, and of the node: what keeps an `EventSource` alive, and a slow client alone."""

from __future__ import annotations

from tests.mutants import Mutant

_NODE = "broadcaster/node/node.py"
_HEALTH = "broadcaster/node/health.py"
_PUMP = "broadcaster/node/pump.py"
_SHUTDOWN = "broadcaster/node/shutdown.py"
_STREAM_PY = "broadcaster/web/endpoint.py"
_SINK = "broadcaster/web/sink.py"
_ASGI_SINK = "broadcaster/web/asgi_sink.py"
_CONNECTION = "broadcaster/web/connection.py"
_PROBLEM = "broadcaster/web/problem.py"
_STREAM = "tests/web/test_endpoint.py::"
_CONNECTED = "tests/web/test_connection.py::"
_HOSTS = "tests/web/test_hosts.py::"
_BOUNDED = "broadcaster/web/uvicorn/bounded.py"
_BOUNDS = "tests/web/uvicorn/test_bounded.py::"
_OPEN = "broadcaster/web/uvicorn/open_connections.py"
_REHEARSAL = "broadcaster/web/uvicorn/rehearsal.py"
_REHEARSED = "tests/web/uvicorn/test_rehearsal.py::"
_CHANGED = _REHEARSED + "test_streams_are_served_with_a_changed_uvicorn_and_one_warning"
_RESUME = "broadcaster/core/resume/machine.py"
_NATIVE = "broadcaster/web/dialects/native.py"
_READ = "tests/web/dialects/test_native.py::"
_HEAD = "broadcaster/web/head.py"
_HEADS = "tests/web/test_head.py::"
_PATHS = "tests/web/test_paths.py::"
_CORS = "tests/web/test_cors.py::"
_RETRY = "tests/web/test_retry.py::"
_NODES = "tests/e2e/test_nodes.py::"
_ROUTES = "broadcaster/web/routes.py"
_DOCUMENTS = "tests/web/documents/"
_OPERATORS = "tests/web/test_operators.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "sink: the kernel takes megabytes for a slow client",
        _CONNECTION,
        "            self._sink.hold_back()\n",
        "            pass\n",
        ("tests/web/test_state.py::test_the_kernel_takes_little_for_a_client_that_does_not_read",),
    ),
    Mutant(
        "documents: they name channels that the caller may not see",
        "broadcaster/web/access/visible.py",
        "[name for name in names if refusals[name] is None]",
        "names",
        (_DOCUMENTS + "test_openapi.py::test_it_names_no_channel_that_the_caller_may_not_see",),
    ),
    Mutant(
        "documents: what was made for one caller is sent to all",
        "broadcaster/web/documents/served.py",
        "key = make, tuple(names), prefix, origin, orjson.dumps(data)",
        "key = make, prefix, origin, orjson.dumps(data)",
        (
            _DOCUMENTS
            + "test_served.py::test_each_caller_gets_a_document_of_its_own[/openapi.json]",
        ),
    ),
    Mutant(
        "documents: operators' routes are shown to clients",
        _ROUTES,
        "documents = Documents(node, operations_of(CLIENTS))",
        "documents = Documents(node, operations_of(CLIENTS, OPERATORS))",
        (_DOCUMENTS + "test_openapi.py::test_operators_routes_are_not_on_the_clients_document[]",),
    ),
    Mutant(
        "listener: a cancelled wait leaves a subscriber behind",
        "broadcaster/node/listener.py",
        "        except BaseException:\n            self._free()",
        "        except ZeroDivisionError:\n            self._free()",
        ("tests/node/test_listener.py::test_a_cancelled_wait_frees_it",),
    ),
    Mutant(
        "listener: a closed one skips what it has not yielded",
        "broadcaster/core/reading/reading.py",
        "        if self._ready is None and self.subscriber",
        "        if self.subscriber",
        (
            "tests/node/test_listener.py::"
            "test_a_cursor_goes_on_after_the_last_value_that_was_yielded[memory]",
        ),
    ),
    Mutant(
        "filter: a run made on demand drops a filter of a user's own",
        "broadcaster/core/subscription.py",
        "replace(self, filter=self.filter.with_key(key), run=run)",
        "replace(self, filter=KeysAndTypes.of([key]), run=run)",
        ("tests/node/test_listener.py::test_a_filter_holds_for_a_run_made_on_demand",),
    ),
    Mutant(
        "routes: operators' routes are open in spite of their token",
        "broadcaster/web/routes.py",
        "if token and row.applications <= {OPERATORS, APART}:",
        "if False:",
        (
            "tests/web/test_operators.py::"
            "test_with_a_token_operators_routes_need_it_and_have_details[False]",
        ),
    ),
    Mutant(
        "metrics: the public reads about channels that are not listed",
        "broadcaster/node/metrics.py",
        'if not any(labels.get(name) in hidden for name in ("stream", "channel")):',
        "if True:",
        (
            "tests/web/test_operators.py::"
            "test_on_one_port_nothing_names_a_channel_that_is_not_listed",
        ),
    ),
    Mutant(
        "health: the public reads the names of channels that are not listed",
        _HEALTH,
        'return "a channel that is not listed" if stream in self._unlisted else stream',
        "return stream",
        ("tests/node/test_health.py::test_the_public_is_not_told_which_channels_are_not_listed",),
    ),
    Mutant(
        "access: a denied channel is read beside a granted one",
        "broadcaster/web/access/decisions.py",
        "                return refused(found)",
        "                continue",
        ("tests/web/access/test_decisions.py::test_a_refusal_is_a_problem_that_the_page_can_read",),
    ),
    Mutant(
        "grants: keys beyond a grant are left out without a word",
        "broadcaster/core/access/grants.py",
        "    if beyond := asked - keys:",
        "    if (beyond := asked - keys) == asked and asked:",
        (
            "tests/core/access/test_grants.py::"
            "test_a_key_beyond_the_grant_is_refused_and_never_left_out[8]",
        ),
    ),
    Mutant(
        "grants: no granted key is every key",
        "broadcaster/core/access/grants.py",
        "    if not keys:",
        "    if not keys and asked:",
        ("tests/core/access/test_grants.py::test_a_grant_of_no_key_is_no_grant_of_all_keys",),
    ),
    Mutant(
        "access: a grant that has ended describes a channel",
        "broadcaster/web/access/decisions.py",
        "return keys if isinstance(keys, Denied) else (grant, keys)",
        "return grant, keys if not isinstance(keys, Denied) else None",
        (
            "tests/web/access/test_decisions.py::"
            "test_a_grant_that_opens_no_stream_describes_no_channel[grant1-401]",
        ),
    ),
    Mutant(
        "subscription: the past of a channel is shown beyond its grant",
        "broadcaster/core/subscription.py",
        "        if self.apart:\n",
        "        if False:\n",
        ("tests/core/test_separation.py::test_keys_of_one_channel_open_nothing_in_another",),
    ),
    Mutant(
        "access: a mistake of the policy lets a caller in",
        "broadcaster/web/access/decisions.py",
        "    except PolicyFailedError as error:\n        return error.response",
        "    except PolicyFailedError:\n        return wanted",
        ("tests/web/access/test_decisions.py::test_a_mistake_of_the_policy_lets_no_caller_in",),
    ),
    Mutant(
        "access: a caller is made though everything is public",
        "broadcaster/web/door.py",
        "            if asks:",
        "            if True:",
        ("tests/web/access/test_decisions.py::test_without_a_policy_no_caller_is_made",),
    ),
    Mutant(
        "questions: a client waits for its position without limit",
        "broadcaster/node/questions.py",
        "async with self._limit(_OPEN_TIMEOUT_S):",
        "async with self._limit(3600):",
        (_STREAM + "test_a_client_that_waits_too_long_for_its_position_gets_a_retry_time",),
    ),
    Mutant(
        "endpoint: a client that disconnected during the opening is served",
        _STREAM_PY,
        "if not attachable or _is_attachable(scope):",
        "if True:",
        (_STREAM + "test_a_client_that_disconnects_while_its_position_is_looked_up_is_not_served",),
    ),
    Mutant(
        "beginning: an old shard's id in from= is a bad request",
        "broadcaster/core/resume/beginning.py",
        "except ReshardedError:",
        "except BackendUnavailableError:",
        ("tests/web/test_shards.py::test_a_key_that_moves_to_another_shard_is_reset",),
    ),
    Mutant(
        "beginning: an id of before there were shards is a bad request in from=",
        "broadcaster/core/resume/beginning.py",
        "alone = subscription.sharded and ",
        "alone = False and ",
        (
            "tests/core/resume/test_beginning.py::"
            "test_a_cursor_that_cannot_be_read_is_kept_and_another_beginning_is_refused",
        ),
    ),
    Mutant(
        "connection: a subscriber that waits for Redis is not released",
        _CONNECTION,
        "elif subscriber.state is State.ENDED:",
        "elif subscriber.state is State.ENDED and not self._asking:",
        (_CONNECTED + "test_a_subscriber_that_waits_for_redis_is_released_at_once",),
    ),
    Mutant(
        "connection: it is in a reference cycle",
        _CONNECTION,
        "            wake=sink.wake,",
        "            wake=lambda: self._sink.wake(),",
        (_STREAM + "test_a_connection_that_is_gone_leaves_nothing_for_the_garbage_collector",),
    ),
    Mutant(
        "sink: the last ASGI message has no timeout",
        _ASGI_SINK,
        """                async with asyncio.timeout(self._send_timeout_s):
                    await self._begin()
                    await self._send(END)
""",
        """                async with asyncio.timeout(None):
                    await self._begin()
                    await self._send(END)
""",
        (_CONNECTED + "test_through_asgi_an_end_that_is_not_read_is_waited_for_only_so_long",),
    ),
    Mutant(
        "sink: a disconnect over ASGI is not reported",
        _ASGI_SINK,
        """                self.closed = True
                self.on_closed()
""",
        """                self.closed = True
""",
        (_CONNECTED + "test_through_asgi_a_disconnect_is_reported_at_once",),
    ),
    Mutant(
        "app: a hub that was shut down starts again without an error",
        "broadcaster/app.py",
        "        if node.draining:\n            raise RuntimeError",
        "        if False:\n            raise RuntimeError",
        (
            "tests/web/test_mounted.py::"
            "test_a_hub_that_was_shut_down_says_so_when_it_is_started_again",
        ),
    ),
    Mutant(
        "routes: metrics of a mounted hub need an open stream first",
        "broadcaster/web/replies.py",
        """        self._node.start()
        headers = {""",
        """        headers = {""",
        (
            "tests/web/test_mounted.py::test_the_first_request_to_a_mounted_hub_is_answered_whatever_its_route",
        ),
    ),
    Mutant(
        "protocol: a timeout above the kernel's limit is an error",
        "broadcaster/web/uvicorn/protocol.py",
        "timeout_ms = int(min(timeout_s * 1000, _MAX_INT))",
        "timeout_ms = int(timeout_s * 1000)",
        (_CONNECTED + "test_a_timeout_that_the_kernel_refuses_is_ours_alone",),
    ),
    Mutant(
        "connection: a node that stops waits for clients that do not read",
        _CONNECTION,
        "leaving = self.subscriber.ending is Ending.DRAIN",
        "leaving = False",
        (_CONNECTED + "test_a_node_that_stops_does_not_wait_for_clients_that_do_not_read",),
    ),
    Mutant(
        "protocol: the head of a response bypasses a middleware",
        "broadcaster/web/uvicorn/protocol.py",
        "if not isinstance(cycle, RequestResponseCycle):",
        "if False:",
        ("tests/web/test_mounted.py::test_a_middleware_sees_the_whole_response",),
    ),
    Mutant(
        "protocol: a replaced `send` is bypassed",
        "broadcaster/web/uvicorn/protocol.py",
        "if send.__func__ is not StreamProtocol.rehearsed:",
        "if False:",
        (_REHEARSED + "test_a_send_that_is_replaced_while_a_node_runs_is_used",),
    ),
    Mutant(
        "rehearsal: calls of the transport are not compared",
        _REHEARSAL,
        'return {"calls of the transport": list(transport.calls)}',
        "return {}",
        (_CHANGED + "[send looks at the transport]",),
    ),
    Mutant(
        "rehearsal: the state of uvicorn's cycle is not compared",
        _REHEARSAL,
        'seen["the cycle meanwhile"] = _state(cycle)',
        "pass",
        (_CHANGED + "[send takes a note]",),
    ),
    Mutant(
        "rehearsal: the bytes are not compared",
        _REHEARSAL,
        'seen["what was written"] = bytes(transport.written)',
        "pass",
        (_CHANGED + "[a header is added to each response]",),
    ),
    Mutant(
        "rehearsal: an error in it stops the start",
        "broadcaster/web/uvicorn/server.py",
        "except Exception as error:  # at import",
        "except ZeroDivisionError as error:  # at import",
        (_CHANGED + "[the class of cycles is renamed]",),
    ),
    # Host names
    Mutant(
        "hosts: a page may read a hub under its own name",
        "broadcaster/web/hosts.py",
        "        if self._is_ours(name):",
        "        if True:",
        (_HOSTS + "test_a_node_that_only_this_machine_reaches_answers_no_other_site",),
    ),
    Mutant(
        "serve: a node that only this machine reaches answers to any name",
        "broadcaster/commands/serve.py",
        "    settings = with_default_hosts(settings)",
        "    pass",
        (_HOSTS + "test_a_node_that_only_this_machine_reaches_answers_no_other_site",),
    ),
    Mutant(
        "bounded: the host of an absolute target is ignored",
        _BOUNDED,
        "        self._take_host_of_target()\n",
        "",
        (_HOSTS + "test_a_node_that_only_this_machine_reaches_answers_no_other_site",),
    ),
    Mutant(
        "head: a page may not send a token",
        "broadcaster/web/head.py",
        '"Authorization", ',
        "",
        ("tests/web/test_head.py::test_a_preflight",),
    ),
    # Bounds on requests
    Mutant(
        "bounded: what comes behind a stream has no bound of bytes",
        _BOUNDED,
        "self._refuse(Refusal.BEHIND if self.answering or is_body else Refusal.HEAD)",
        "self.answering or self._refuse(Refusal.HEAD)",
        (_BOUNDS + "test_a_body_that_does_not_end_closes_a_stream",),
    ),
    Mutant(
        "bounded: any number of requests may be pipelined",
        _BOUNDED,
        "if len(self.answering) > MAX_PIPELINED:",
        "if False:",
        (_BOUNDS + "test_pipelined_requests_are_answered_up_to_a_bound",),
    ),
    Mutant(
        "bounded: a request may have any number of headers",
        _BOUNDED,
        "if len(self.headers) > self._opened.bounds.max_headers:",
        "if False:",
        (_BOUNDS + "test_a_request_above_a_bound_is_refused[many headers-asgi]",),
    ),
    Mutant(
        "bounded: a body that nothing reads may take any time",
        _BOUNDED,
        "        if self._phase is _Phase.BETWEEN and not self._held:",
        "        if True:",
        (_BOUNDS + "test_a_body_that_nothing_reads_has_a_time_limit_after_the_answer",),
    ),
    Mutant(
        "bounded: a body behind a request to upgrade is the next request",
        _BOUNDED,
        'if any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):',
        "if False:",
        (_BOUNDS + "test_a_body_of_a_request_to_upgrade_is_not_the_next_request",),
    ),
    Mutant(
        "protocol: a stream is served though too much came behind its request",
        "broadcaster/web/uvicorn/protocol.py",
        "if self.refused:  # too much came behind this request, and its response may never end",
        "if False:",
        (_BOUNDS + "test_too_much_behind_a_stream_closes_the_connection[True-behind0]",),
    ),
    Mutant(
        "bounded: each byte prolongs the time of a request's head",
        _BOUNDED,
        "        if self._phase is _Phase.RESTING:\n",
        "        if not self.answering:\n",
        (_BOUNDS + "test_bytes_that_keep_coming_do_not_prolong_the_time",),
    ),
    Mutant(
        "open connections: any number of connections may wait",
        _OPEN,
        "if self.count > self._most:",
        "if False:",
        (
            "tests/web/uvicorn/test_open_connections.py::test_a_newcomer_leaves_if_no_other_connection_waits",
        ),
    ),
    Mutant(
        "server: an idle connection is closed after uvicorn's own time",
        "broadcaster/web/uvicorn/server.py",
        'timeout_keep_alive=cast("int", settings.keep_alive_s),',
        "timeout_keep_alive=5,",
        (_BOUNDS + "test_an_idle_connection_is_closed_after_its_time",),
    ),
    Mutant(
        "connection: every response with last words counts as drained",
        _CONNECTION,
        "            return subscriber.ending\n",
        "            return Ending.DRAIN if subscriber.farewell else Ending.COMPLETE\n",
        (_CONNECTED + "test_last_words_do_not_make_an_end_a_drain",),
    ),
    Mutant(
        "native: a cursor in the query is ignored",
        _NATIVE,
        "        if param in query:\n",
        "        if False:\n",
        (_STREAM + "test_a_client_that_sends_its_cursor_in_the_query_misses_nothing",),
    ),
    Mutant(
        "native: the first of several cursors in the query wins",
        _NATIVE,
        "return query[param][-1]",
        "return query[param][0]",
        (_READ + "test_of_cursors_in_the_query_the_newest_counts_and_the_first_name",),
    ),
    Mutant(
        "beginning: a run's cursor need not name the run",
        "broadcaster/core/resume/beginning.py",
        "    if run is None or made.name not in {*positions, *states}:",
        "    if False:",
        (_READ + "test_a_cursor_of_a_run_that_does_not_name_it_is_unreadable",),
    ),
    Mutant(
        "head: an escaped slash in a key splits the path",
        _HEAD,
        'if b"%" in raw and unquote',
        "if False and unquote",
        (_PATHS + "test_a_key_may_have_a_slash",),
    ),
    Mutant(
        "head: an escaped key is not decoded",
        _HEAD,
        "unquote_to_bytes(part).decode() for part",
        "part.decode() for part",
        (_PATHS + "test_a_key_may_have_a_slash",),
    ),
    Mutant(
        "head: the response does not vary by origin",
        _HEAD,
        'return [*allowed, (b"vary", b"Origin")]',
        "return allowed",
        (_HEADS + "test_pages_of_allowed_origins_may_read",),
    ),
    Mutant(
        "head: every origin is allowed",
        _HEAD,
        'if origin.decode("latin-1") not in settings.cors_origins:',
        "if False:",
        (_HEADS + "test_pages_of_allowed_origins_may_read",),
    ),
    Mutant(
        "endpoint: a problem has no CORS headers",
        _STREAM_PY,
        "            answer.raw_headers += head.cors_headers(self._node.settings, scope)\n",
        "",
        (_CORS + "test_every_answer_can_be_read_by_the_configured_origins",),
    ),
    Mutant(
        "routes: other responses have no CORS headers",
        "broadcaster/web/routes.py",
        "_with_headers(cors, send) if cors else send",
        "send",
        (_CORS + "test_every_answer_can_be_read_by_the_configured_origins",),
    ),
    Mutant(
        "sink: a delayed heartbeat over ASGI moves the cursor back",
        _ASGI_SINK,
        '        self._heartbeat = b""  # a heartbeat that still waits',
        "        # a heartbeat that still waits",
        (
            "tests/web/test_connection.py::"
            "test_through_asgi_a_heartbeat_that_waited_does_not_move_the_cursor_back",
        ),
    ),
    Mutant(
        "connection: each of many replays makes a page in every turn of the event loop",
        _CONNECTION,
        "            await self._pages.turn(cost_s)",
        "            # await self._pages.turn(cost_s)",
        ("tests/web/test_connection.py::test_many_replays_make_their_pages_in_turns",),
    ),
    Mutant(
        "connection: a page is held while the client does not read",
        _CONNECTION,
        "        del data  # a client that does not read would hold a page twice\n",
        "",
        (
            "tests/web/test_connection.py::"
            "test_a_page_is_held_by_the_sink_alone_while_the_client_does_not_read",
        ),
    ),
    # The head, and the first bytes
    Mutant(
        "problem: proxies may buffer the event stream",
        _PROBLEM,
        '    (b"x-accel-buffering", b"no"),\n',
        "",
        (_STREAM + "test_the_head_of_the_response",),
    ),
    Mutant(
        "problem: proxies may compress the event stream",
        _PROBLEM,
        'b"no-cache, no-store, no-transform"',
        'b"no-cache, no-store"',
        (_STREAM + "test_the_head_of_the_response",),
    ),
    Mutant(
        "resume: the first bytes are not sent at once",
        _RESUME,
        "        return Send((first,))\n",
        "        return step\n",
        ("tests/core/resume/test_machine.py::test_the_first_bytes_do_not_wait_for_an_answer",),
    ),
    Mutant(
        "endpoint: all clients get the same retry time",
        _STREAM_PY,
        "retry_ms = random.randint(settings.retry_min_ms, settings.retry_max_ms)",
        "retry_ms = settings.retry_min_ms",
        (_RETRY + "test_each_client_comes_back_at_a_time_of_its_own",),
    ),
    Mutant(
        "endpoint: all clients that are shed get the same retry time",
        "broadcaster/web/door.py",
        "retry_ms = random.randint(mean_ms // 2, mean_ms * 3 // 2)",
        "retry_ms = mean_ms",
        (_RETRY + "test_each_client_comes_back_at_a_time_of_its_own",),
    ),
    Mutant(
        "endpoint: a client that is shed is not sent its position back",
        _STREAM_PY,
        "return come_back(retry_ms, reason, wanted.cursor, close=",
        "return come_back(retry_ms, reason, close=",
        ("tests/web/test_endpoint.py::test_a_client_that_is_shed_keeps_its_position",),
    ),
    # Never ending an EventSource for trouble that passes
    Mutant(
        "problem: a client that is shed gets 503",
        _PROBLEM,
        "    response = event_stream(comment + sse.retry(retry_ms) + sse.at(cursor))",
        "    response = Response(status_code=503)",
        (_STREAM + "test_a_newcomer_above_the_limit_gets_a_retry_time",),
    ),
    Mutant(
        "beginning: an unreadable cursor is refused",
        "broadcaster/core/resume/beginning.py",
        "    except InvalidCursorError:\n",
        "    except ZeroDivisionError:\n",
        (_STREAM + "test_a_hostile_last_event_id_gets_a_reset_and_the_stream",),
    ),
    Mutant(
        "node: the number of connections is not limited",
        _NODE,
        "if len(self.hub.subscribers) + self.meters.waiting >= self.settings.max_connections:",
        "if False:",
        (_STREAM + "test_a_newcomer_above_the_limit_gets_a_retry_time",),
    ),
    Mutant(
        "node: newcomers are served before the window is loaded",
        _NODE,
        "if not all(event.is_set() for event in self._loading(streams)):",
        "if False:",
        (_NODES + "test_a_stream_that_can_not_be_read_from_the_start_harms_only_its_channel",),
    ),
    Mutant(
        "health: a node that can't read a stream is ready",
        _HEALTH,
        "            if status.problem:",
        "            if False:",
        (
            "tests/node/test_health.py::test_an_unreadable_stream_is_named_and_operators_see_the_reason",
        ),
    ),
    Mutant(
        "health: a node is not ready as soon as Redis is away",
        _HEALTH,
        "if self._away_s() > grace_s:",
        "if self._away_s() > 0:",
        ("tests/node/test_health.py::test_a_node_is_ready_while_redis_is_away_for_a_moment",),
    ),
    Mutant(
        "connection: small pieces are written one by one",
        _CONNECTION,
        "while self.subscriber.state is State.LAGGING and len(data) < _SMALL_BYTES:",
        "while self.subscriber.state is State.LAGGING and not data:",
        (_CONNECTED + "test_a_newcomer_gets_all_that_is_small_in_one_write",),
    ),
    Mutant(
        "connection: bytes at hand wait for Redis",
        _CONNECTION,
        "            if not isinstance(step, Send):\n                break\n",
        "            if not isinstance(step, Send):\n                return None\n",
        (_CONNECTED + "test_bytes_at_hand_do_not_wait_for_redis",),
    ),
    Mutant(
        "sink: a response that fails at once has no head",
        _SINK,
        "        if self._head and not self.closed:\n            self.write(self._head)\n",
        "",
        (_CONNECTED + "test_a_response_that_fails_at_once_is_whole",),
    ),
    # Slow clients, and those that have vanished
    Mutant(
        "connection: a client that makes no progress is kept",
        _CONNECTION,
        "                self._sink.abort()",
        "                pass",
        (_CONNECTED + "test_a_client_that_makes_progress_is_not_cut",),
    ),
    Mutant(
        "connection: a client that makes progress is cut",
        _CONNECTION,
        "            if leaving or self._sink.unsent_bytes() >= unsent:",
        "            if True:",
        (_CONNECTED + "test_a_client_that_makes_progress_is_not_cut",),
    ),
    Mutant(
        "sink: a client without progress over ASGI is kept",
        _ASGI_SINK,
        "timeout(self._send_timeout_s):\n                await self._begin()\n",
        "timeout(None):\n                await self._begin()\n",
        (_CONNECTED + "test_a_client_that_never_reads_again_is_cut_on_any_server",),
    ),
    Mutant(
        "protocol: the kernel keeps a client that vanished",
        "broadcaster/web/uvicorn/protocol.py",
        "        _limit_silence(transport, send_timeout_s)\n",
        "",
        (_CONNECTED + "test_the_kernel_notices_a_client_that_vanished_and_buffers_are_small",),
    ),
    Mutant(
        "connection: the hub keeps writing to a full buffer",
        _CONNECTION,
        "        self._hub.lag(self.subscriber)\n",
        "",
        (_STREAM + "test_a_client_that_does_not_read_holds_up_no_other_and_misses_nothing",),
    ),
    Mutant(
        "connection: a client that disconnected is still written to",
        _CONNECTION,
        "sink.on_closed = self.close",
        "sink.on_closed = self._stop_asking",
        (_CONNECTED + "test_a_client_that_disconnected_is_not_written_to",),
    ),
    Mutant(
        "protocol: uvicorn's high-water mark is kept",
        "broadcaster/web/uvicorn/protocol.py",
        "        transport.set_write_buffer_limits(high=high_water_bytes)\n",
        "",
        (_CONNECTED + "test_the_kernel_notices_a_client_that_vanished_and_buffers_are_small",),
    ),
    Mutant(
        "connection: a long replay holds up other clients",
        _CONNECTION,
        "await asyncio.sleep(0)  # a long replay must not delay other clients",
        "pass",
        (_CONNECTED + "test_others_run_between_two_pages_of_a_replay",),
    ),
    Mutant(
        "pump: a round holds up the event loop",
        _PUMP,
        "    for _ in round_:\n        await asyncio.sleep(0)",
        "    for _ in round_:\n        pass",
        ("tests/node/test_pump.py::test_others_run_between_two_slices",),
    ),
    Mutant(
        "pump: two rounds run at a time",
        _PUMP,
        "                async with self.turn:\n                    sleepers =",
        "                if True:\n                    sleepers =",
        (
            "tests/node/test_pump.py::test_one_round_at_a_time_so_that_a_subscriber_that_lags_misses_nothing",
        ),
    ),
    Mutant(
        "pump: subscribers are not woken after a changed history",
        _PUMP,
        "                await _wake(sleepers)\n",
        "",
        ("tests/node/test_pump.py::test_a_changed_history_wakes_all_subscribers_in_slices",),
    ),
    Mutant(
        "pump: subscribers are woken while the pump holds the turn",
        _PUMP,
        "                await _wake(sleepers)\n",
        "                    await _wake(sleepers)\n",
        ("tests/node/test_pump.py::test_a_changed_history_wakes_all_subscribers_in_slices",),
    ),
    Mutant(
        "pump: all subscribers are woken at once after a changed history",
        _PUMP,
        "_WAKE_SLICE = 10",
        "_WAKE_SLICE = 10_000",
        ("tests/node/test_pump.py::test_a_changed_history_wakes_all_subscribers_in_slices",),
    ),
    Mutant(
        "pump: a heartbeat runs during a round",
        _PUMP,
        "            async with self.turn:\n                await _finish(self._hub.beat())",
        "            await _finish(self._hub.beat())",
        ("tests/node/test_pump.py::test_a_heartbeat_waits_for_the_end_of_a_round",),
    ),
    Mutant(
        "pump: an error in one round ends the tailer",
        "broadcaster/node/pump.py",
        "        except Exception:  # a bug that shows in one round must not end the node",
        "        except ZeroDivisionError:",
        ("tests/test_app.py::test_a_mistake_in_one_round_does_not_end_the_work",),
    ),
    # Drain
    Mutant(
        "shutdown: a drain ends all responses at once",
        _SHUTDOWN,
        "size = -(-len(subscribers) // _SLICES) or 1",
        "size = len(subscribers) or 1",
        ("tests/node/test_shutdown.py::test_a_drain_takes_its_time",),
    ),
    Mutant(
        "shutdown: each request repeats all steps",
        _SHUTDOWN,
        "        if self._task is None:\n",
        "        if True:\n",
        ("tests/node/test_shutdown.py::test_the_steps_come_in_order_and_once",),
    ),
    Mutant(
        "shutdown: Redis is closed before the server has closed its connections",
        _SHUTDOWN,
        "        await self._released.wait()\n",
        "",
        (
            "tests/node/test_shutdown.py::test_a_node_works_until_the_server_has_closed_its_connections",
        ),
    ),
    Mutant(
        "node: all clients that are drained get the same retry time",
        _NODE,
        "retry_ms = random.randint(self.settings.retry_min_ms, self.settings.retry_max_ms)",
        "retry_ms = self.settings.retry_min_ms",
        (_RETRY + "test_each_client_comes_back_at_a_time_of_its_own",),
    ),
    Mutant(
        "node: a node that drains admits newcomers",
        _NODE,
        "        if self.draining:\n            return Shed.DRAINING\n",
        "",
        (_RETRY + "test_a_node_that_drains_sends_newcomers_away",),
    ),
    Mutant(
        "health: a node that drains is ready",
        _HEALTH,
        'found = ["draining"] if self._node.draining else []',
        "found: list[str] = []",
        (_RETRY + "test_a_node_that_drains_sends_newcomers_away",),
    ),
    Mutant(
        "server: uvicorn waits for open responses",
        "broadcaster/web/uvicorn/server.py",
        "asyncio.ensure_future(self._drain())",
        "asyncio.ensure_future(asyncio.sleep(0))",
        ("tests/commands/test_serve.py::test_serve_ends_streams_and_exits_with_0_on_sigterm",),
    ),
    Mutant(
        "server: a clean stop looks like death by a signal",
        "broadcaster/web/uvicorn/server.py",
        '            getattr(self, "_captured_signals", []).clear()',
        "            pass",
        ("tests/commands/test_serve.py::test_ctrl_c_is_a_clean_stop_too",),
    ),
    Mutant(
        "server: another server's shutdown does not end open responses",
        "broadcaster/web/uvicorn/server.py",
        "        loop.call_soon_threadsafe(end_responses)  # not in the middle",
        "        # not in the middle",
        ("tests/web/test_mounted.py::test_plain_servers[uvicorn]",),
    ),
    # Operators' routes
    Mutant(
        "routes: operators' routes are on the clients' port too",
        "broadcaster/web/routes.py",
        "shown = {CLIENTS} if node.settings.metrics_port else",
        "shown =",
        (_OPERATORS + "test_with_two_ports_each_has_its_own_routes",),
    ),
    Mutant(
        "server: clients are served on the operators' port",
        "broadcaster/web/uvicorn/server.py",
        "app = self._operators if server[1] == self._port else self._clients",
        "app = self._clients",
        (_OPERATORS + "test_with_two_ports_each_has_its_own_routes",),
    ),
    Mutant(
        "answers: operators' routes show all details on the clients' port",
        "broadcaster/web/routes.py",
        "Replies(node, documents, about, details=bool(token))",
        "Replies(node, documents, about, details=True)",
        (_OPERATORS + "test_on_one_port_nothing_names_hosts_addresses_versions_or_errors",),
    ),
    Mutant(
        "health: the public report shows Redis's error text",
        _HEALTH,
        '"reasons": [p.detail if details else p.public for p in problems],',
        '"reasons": [p.detail for p in problems],',
        (_OPERATORS + "test_on_one_port_nothing_names_hosts_addresses_versions_or_errors",),
    ),
    Mutant(
        "metrics: the public figures show the version",
        "broadcaster/node/metrics.py",
        'if not version and "version" in labels:',
        "if False:",
        (_OPERATORS + "test_on_one_port_nothing_names_hosts_addresses_versions_or_errors",),
    ),
    Mutant(
        "registry: the public list shows an older node's error texts",
        "broadcaster/node/registry.py",
        'return line.get("reasons", ["not ready"] if line.get("problems") else [])',
        'return line.get("reasons", line.get("problems"))',
        (_OPERATORS + "test_on_one_port_nothing_names_hosts_addresses_versions_or_errors",),
    ),
    Mutant(
        "bounded: no page can read why its request was refused",
        "broadcaster/web/uvicorn/bounded.py",
        "        cors = self._opened.bounds.cors(self.headers or [])\n",
        "        cors = self._opened.bounds.cors([])\n",
        (
            "tests/web/uvicorn/test_bounded.py::"
            "test_a_page_of_another_origin_can_read_why_it_was_refused",
        ),
    ),
)
