"""Mutants of `backend`, and of what asks it: proofs, other servers, and commands sent twice."""

from __future__ import annotations

from tests.mutants import Mutant

_TAILER = "broadcaster/backend/tailer.py"
_REPLAYER = "broadcaster/backend/replayer.py"
_REPLAYER_TESTS = "tests/backend/test_replayer.py::"
_SHARING = "broadcaster/backend/sharing.py"
_NODES = "tests/e2e/test_nodes.py::"
_CLUSTER = "tests/backend/driver/test_cluster.py::"
_SENTINEL = "tests/backend/driver/test_sentinel.py::"
_PUBLISHER = "tests/backend/publishing/test_publisher.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "pools: a connection that could not be opened is given out next",
        "broadcaster/backend/driver/pools.py",
        "free.insert(0, connection)",
        "free.append(connection)",
        ("tests/backend/driver/test_pools.py",),
    ),
    Mutant(
        "urls: the part of a password after a delimiter is shown",
        "broadcaster/backend/driver/urls.py",
        "if _CUT_CREDENTIALS.search(url):",
        "if False:",
        (
            "tests/backend/driver/test_urls.py::"
            "test_a_url_that_cannot_work_says_how_urls_look_and_no_password",
        ),
    ),
    Mutant(
        "sharing: a read without callers that waits for its turn is not cancelled",
        _SHARING,
        "if not found.waiting and not found.sent:",
        "if False:",
        (
            "tests/backend/test_sharing.py::"
            "test_the_last_caller_that_leaves_ends_a_read_that_waits_for_its_turn",
        ),
    ),
    Mutant(
        "sharing: a read that was sent is cancelled with its last caller",
        _SHARING,
        "if not found.waiting and not found.sent:",
        "if not found.waiting:",
        (
            "tests/e2e/test_resume.py::"
            "test_clients_that_leave_during_a_read_cost_redis_no_connections",
        ),
    ),
    Mutant(
        "sharing: a new caller joins a read that was cancelled",
        _SHARING,
        "                self._forget(key, found)  # a later caller must read again\n",
        "",
        (
            "tests/backend/test_sharing.py::"
            "test_the_last_caller_that_leaves_ends_a_read_that_waits_for_its_turn",
        ),
    ),
    Mutant(
        "sharing: asyncio logs the error of a read that has no caller left",
        _SHARING,
        "            task.exception()",
        "            pass",
        ("tests/backend/test_sharing.py::test_an_error_without_callers_is_not_logged",),
    ),
    Mutant(
        "requester: a client that leaves cuts its request",
        "broadcaster/backend/runs/requester.py",
        "                sending()\n",
        "",
        ("tests/backend/runs/test_requester.py::test_those_that_leave_cost_redis_no_connections",),
    ),
    Mutant(
        "nodes: each request for the nodes takes a connection",
        "broadcaster/backend/nodes.py",
        'lines = await self._shared.of("lines", self._lines)',
        "lines = await self._lines()",
        ("tests/node/test_registry.py::test_concurrent_requests_for_the_list_share_a_read",),
    ),
    Mutant(
        "errors: a refusal that the driver does not know is for good",
        "broadcaster/backend/driver/errors.py",
        "return _code(error) not in _REFUSED_FOR_GOOD",
        "return isinstance(error, UNAVAILABLE)",
        ("tests/backend/driver/test_errors.py",),
    ),
    Mutant(
        "errors: the code of a refusal in a pipeline is not found",
        "broadcaster/backend/driver/errors.py",
        "return quoted[1] if quoted else said",
        "return said",
        ("tests/backend/driver/test_errors.py",),
    ),
    Mutant(
        "options: a timeout may be below the BLOCK of a reader",
        "broadcaster/backend/driver/options.py",
        "if not least <= value <= _MOST_S:",
        "if not 0 < value:",
        ("tests/backend/driver/test_options.py",),
    ),
    Mutant(
        "sockets: a connection that is opened again uses the certificates of the first time",
        "broadcaster/backend/driver/sockets.py",
        "            tls.context = None\n",
        "            pass\n",
        (
            "tests/backend/driver/test_secrets.py::"
            "test_renewed_certificates_are_used_by_the_next_connection",
        ),
    ),
    Mutant(
        "clock: the machine's own clock is used",
        "broadcaster/backend/clock.py",
        "        if self._ahead_ms is None:\n",
        "        if True:\n",
        ("tests/backend/test_clock.py", "tests/e2e/test_clocks.py"),
    ),
    # The tailer proves each read
    Mutant(
        "tailer: the head's entry is not read again after a read",
        _TAILER,
        "if not proven:",
        "if head == ZERO:",
        (_NODES + "test_a_burst_that_was_trimmed_before_it_was_read_is_a_reset",),
    ),
    Mutant(
        "tailer: a proof does not compare the count of entries",
        _TAILER,
        "info.last == last and info.added == self.added + len(rows) + len(more)",
        "info.last == last",
        (_NODES + "test_a_burst_that_was_trimmed_before_it_was_read_is_a_reset",),
    ),
    Mutant(
        "tailer: the count of entries is never accepted as a proof",
        _TAILER,
        "        return more if complete else None",
        "        return None",
        (_NODES + "test_trimming_all_that_was_read_is_no_loss",),
    ),
    Mutant(
        "tailer: entries that arrive during the proof make it fail",
        _TAILER,
        "        if info.last > last:",
        "        if False:",
        ("tests/backend/test_tailer.py",),
    ),
    Mutant(
        "tailer: entries that were read are not counted",
        _TAILER,
        "        self.added += len(rows)\n",
        "",
        (_NODES + "test_trimming_all_that_was_read_is_no_loss",),
    ),
    Mutant(
        "stream: a new connection is taken for the same server",
        "broadcaster/backend/stream.py",
        "        return made",
        "        return 0",
        ("tests/backend/test_tailer.py::test_an_equal_entry_does_not_vouch_for_those_before_it",),
    ),
    Mutant(
        "tailer: entries trimmed during a comparison count as read",
        _TAILER,
        "            if not await self._stream.from_on(common, common, 1):",
        "            if False:",
        (
            "tests/backend/test_tailer.py::"
            "test_entries_trimmed_during_a_comparison_are_not_passed_over",
        ),
    ),
    Mutant(
        "tailer: a slow read does not reduce the batch size",
        "broadcaster/backend/read_size.py",
        "            self.count = max(1, min(self.count, asked // 4))",
        "            pass",
        ("tests/backend/test_tailer.py::test_a_slow_read_is_repeated_with_fewer_entries",),
    ),
    Mutant(
        "tailer: no rewind is reported where histories part",
        _TAILER,
        "                yield Rewind(common)\n",
        "                pass\n",
        (_NODES + "test_an_id_that_was_given_twice_is_a_rollback",),
    ),
    Mutant(
        "tailer: a window with the first entry counts as complete",
        _TAILER,
        "        if beginning and whole:",
        "        if beginning:",
        (_NODES + "test_the_empty_beginning_is_continuous_until_something_is_removed",),
    ),
    Mutant(
        "tailer: no reset follows when a key stops being a stream",
        _TAILER,
        'if self._in_step and str(error).startswith("WRONGTYPE"):',
        "if False:",
        (_NODES + "test_clients_are_reset_at_once_when_their_stream_is_replaced_by_another_type",),
    ),
    # The replayer proves each page
    Mutant(
        "replayer: a read of large events brings as many",
        _REPLAYER,
        "self._counts[stream] = max(1, min(PAGE_COUNT, count))",
        "pass",
        (_REPLAYER_TESTS + "test_pages_end_with_the_event_that_reaches_their_bytes",),
    ),
    Mutant(
        "replayer: a page has all that was read, whatever its size",
        _REPLAYER,
        "return list(fitting(frames, self._page_bytes))",
        "return frames",
        (_REPLAYER_TESTS + "test_pages_end_with_the_event_that_reaches_their_bytes",),
    ),
    Mutant(
        "replayer: short questions wait for pages",
        _REPLAYER,
        "self._short, self._pages = Lane(CONCURRENT_READS), Lane(CONCURRENT_READS, of_one=1)",
        "self._short = self._pages = Lane(CONCURRENT_READS)",
        (_REPLAYER_TESTS + "test_short_questions_do_not_wait_for_pages",),
    ),
    Mutant(
        "replayer: a shared read has the turn of its first client alone",
        _REPLAYER,
        "if key in self._waiting:",
        "if False:",
        (_REPLAYER_TESTS + "test_a_client_waits_for_one_page_of_another_address_at_most",),
    ),
    Mutant(
        "turns: the address with most reads has most turns",
        "broadcaster/core/fanout/turns.py",
        "self._lines.setdefault(reader.address, [])",
        'self._lines.setdefault("", [])',
        ("tests/core/fanout/test_turns.py",),
    ),
    Mutant(
        "turns: what a client has read counts for nothing",
        "broadcaster/core/fanout/turns.py",
        "heappush(line, (reader.spent_s, -self._added, read))",
        "heappush(line, (0.0, -self._added, read))",
        ("tests/core/fanout/test_turns.py",),
    ),
    Mutant(
        "lane: a turn that comes to a cancelled read is lost",
        "broadcaster/backend/lane.py",
        "if turn.done() and not turn.cancelled():",
        "if False:",
        ("tests/backend/test_lane.py",),
    ),
    Mutant(
        "read size: a restart of Redis makes reads small",
        "broadcaster/backend/read_size.py",
        'return "no limit of Redis was hit" if again else ""',
        'return "no limit of Redis was hit"',
        ("tests/backend/test_read_size.py",),
    ),
    Mutant(
        "secrets: OpenSSL asks for the password of a key on the terminal",
        "broadcaster/backend/driver/sockets.py",
        "            tls.password = tls.password or NO_PASSWORD\n",
        "",
        ("tests/backend/driver/test_secrets.py",),
    ),
    Mutant(
        "secrets: what is no file is read as one",
        "broadcaster/settings/files.py",
        "        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):\n",
        "        if False:\n",
        (
            "tests/backend/driver/test_secrets.py::test_what_is_no_secret_is_trouble_that_passes[pipe]",
        ),
    ),
    Mutant(
        "urls: port 0 is the default port",
        "broadcaster/backend/driver/urls.py",
        "if port is not None and not 0 < port < 1 << 16:",
        "if False:",
        ("tests/backend/driver/test_urls.py",),
    ),
    Mutant(
        "read size: a read that Redis has cut is repeated as it was",
        "broadcaster/backend/read_size.py",
        "self.count = self._ceiling = max(1, min(self.count, asked // 4))",
        "pass",
        ("tests/backend/test_read_size.py",),
    ),
    Mutant(
        "replayer: reads go on to ask for connections that Redis refuses",
        _REPLAYER,
        "            lane.narrow()\n",
        "            pass\n",
        (
            "tests/e2e/test_limits_of_redis.py::"
            "test_many_clients_replay_over_the_connections_that_there_are",
        ),
    ),
    Mutant(
        "lane: pages take all of the event loop's time",
        "broadcaster/backend/lane.py",
        "            if rest_s > 0:\n",
        "            if False:\n",
        ("tests/backend/test_lane.py",),
    ),
    Mutant(
        "lane: clients that come one after the other do not rest",
        "broadcaster/backend/lane.py",
        "if reader is self._last and not self._turns:",
        "if not self._turns:",
        ("tests/backend/test_lane.py",),
    ),
    Mutant(
        "lane: one address has all places",
        "broadcaster/backend/lane.py",
        "if count >= self._of_one}",
        "if count > self._most}",
        ("tests/backend/test_lane.py",),
    ),
    Mutant(
        "questions: all clients have pages of the windows at once",
        "broadcaster/node/questions.py",
        "            await self._rest(reader.rest_s)  # the",
        "            pass  # the",
        ("tests/node/test_questions.py",),
    ),
    Mutant(
        "connection: a page of the windows that a filter leaves out costs a client nothing",
        "broadcaster/web/connection.py",
        "            if step.left_out:\n",
        "            if False:\n",
        ("tests/web/test_connection.py",),
    ),
    Mutant(
        "connection: a wake ends a rest",
        "broadcaster/web/connection.py",
        "            if self._resting:\n",
        "            if False:\n",
        ("tests/web/test_connection.py",),
    ),
    Mutant(
        "questions: a client whose pages are left out does not rest",
        "broadcaster/node/questions.py",
        "            await self._rest(reader.rest_s)\n        try:\n",
        "            pass\n        try:\n",
        ("tests/node/test_questions.py",),
    ),
    Mutant(
        "replayer: every page counts as proven",
        _REPLAYER,
        "        return await self._proves(source, rows, after)",
        "        return True",
        (_NODES + "test_cursors_at_the_trim_edge",),
    ),
    Mutant(
        "replayer: a page after 0-0 counts as proven",
        _REPLAYER,
        "            return (await source.info()).whole",
        "            return True",
        (_NODES + "test_the_empty_beginning_is_continuous_until_something_is_removed",),
    ),
    # Reads are few
    Mutant(
        "sharing: equal reads are not shared",
        _SHARING,
        "        found = self._reads.get(key)",
        "        found = None",
        (_NODES + "test_a_herd_with_one_cursor_shares_its_reads",),
    ),
    Mutant(
        "sharing: a caller that leaves cancels the read for all",
        _SHARING,
        "await asyncio.wait([found.task])",
        "await found.task",
        ("tests/backend/test_replayer.py",),
    ),
    Mutant(
        "replayer: the number of concurrent reads is not bounded",
        _REPLAYER,
        "CONCURRENT_READS = 4\n",
        "CONCURRENT_READS = 4_000\n",
        (_REPLAYER_TESTS + "test_a_few_reads_run_at_a_time_and_one_of_each_address",),
    ),
    # Entries that can't be sent
    Mutant(
        "entry: a malformed entry has no place in the window",
        "broadcaster/core/entry.py",
        "        frames.append(frame)\n",
        "        frames.extend([frame] if frame.wire else [])\n",
        ("tests/backend/test_stream.py",),
    ),
    Mutant(
        "stream: every malformed entry is logged",
        "broadcaster/backend/stream.py",
        "        if now - self._logged_at >= LOG_EVERY_S:",
        "        if True:",
        ("tests/backend/test_stream.py",),
    ),
    Mutant(
        "registry: each announcement leaves a reference cycle",
        "broadcaster/node/registry.py",
        '"version": VERSION',
        "\"version\": __import__('importlib.metadata').metadata.version('broadcaster-hub')",
        ("tests/node/test_registry.py::test_an_announcement_leaves_no_reference_cycle",),
    ),
    Mutant(
        "stream: each look for a missing stream leaves a reference cycle",
        "broadcaster/backend/stream.py",
        "                error.__traceback__ = None\n",
        "",
        (
            "tests/backend/test_stream.py::"
            "test_to_ask_for_a_stream_that_does_not_exist_leaves_nothing_behind",
        ),
    ),
    # Commands
    Mutant(
        "connect: a command is sent again after an error",
        "broadcaster/backend/driver/connect.py",
        "def connect(\n    url: str, *, timeout_s: float | None = 5.0, retries: int = 0,",
        "def connect(\n    url: str, *, timeout_s: float | None = 5.0, retries: int = 1,",
        (_PUBLISHER + "test_nothing_is_sent_twice",),
    ),
    Mutant(
        "connect: a blocking command is sent again after an error",
        "broadcaster/backend/driver/connect.py",
        "def connect_sync(\n    url: str, *, timeout_s: float | None = 5.0, retries: int = 0,",
        "def connect_sync(\n    url: str, *, timeout_s: float | None = 5.0, retries: int = 1,",
        (_PUBLISHER + "test_nothing_is_sent_twice",),
    ),
    Mutant(
        "connect: a frozen server is waited for without limit",
        "broadcaster/backend/driver/connect.py",
        '        "socket_timeout": timeout_s,',
        '        "socket_timeout": None,',
        (
            "tests/backend/driver/test_connect.py::test_timeouts_and_retries_are_ours_not_those_of_redis_py",
        ),
    ),
    Mutant(
        "sockets: replaced connections are not counted",
        "broadcaster/backend/driver/sockets.py",
        "        type(self).made += 1",
        "        pass",
        (_CLUSTER + "test_a_connection_that_is_replaced_without_a_word_is_counted",),
    ),
    Mutant(
        "sockets: a cancellation is lost",
        "broadcaster/backend/driver/sockets.py",
        "        if task and task.cancelling() > asked:",
        "        if False:",
        (
            "tests/backend/driver/test_sockets.py::test_a_command_can_be_cancelled_at_any_turn_of_the_loop",
        ),
    ),
    Mutant(
        "publisher: commands without a reply are left out of the ids",
        "broadcaster/backend/publishing/outgoing.py",
        "        ids.extend([None] * (len(commands) - len(replies)))\n",
        "",
        (_PUBLISHER + "test_a_connection_that_breaks_half_way",),
    ),
    Mutant(
        "publisher: a channel's maxlen is ignored",
        "broadcaster/backend/publishing/outgoing.py",
        'return to.maxlen if self._maxlen == "channel" else self._maxlen',
        'return 100_000 if self._maxlen == "channel" else self._maxlen',
        (_PUBLISHER + "test_streams_are_trimmed",),
    ),
    Mutant(
        "publisher: each task takes a connection",
        "broadcaster/backend/publishing/publisher.py",
        "_CONCURRENT = 50 ",
        "_CONCURRENT = 50_000 ",
        (_PUBLISHER + "test_any_number_of_tasks_may_publish",),
    ),
    Mutant(
        "requester: each newcomer takes a connection",
        "broadcaster/backend/runs/requester.py",
        "_CONCURRENT = 4 ",
        "_CONCURRENT = 4_000 ",
        ("tests/backend/runs/test_requester.py::test_a_herd_asks_over_few_connections",),
    ),
    Mutant(
        "runs: a run stays locked after its worker loses Redis",
        "broadcaster/backend/runs/queue.py",
        "for run in {*self._active.values()} - before:",
        "for run in ():",
        (
            "tests/backend/runs/test_queue.py::"
            "test_a_request_taken_before_redis_goes_away_is_found_again[single-a beginning]",
        ),
    ),
    Mutant(
        "runs: a run stays locked whose request its worker could not remove",
        "broadcaster/backend/runs/queue.py",
        "for run in {*self._active.values()} - before:",
        "for run in runs:",
        (
            "tests/backend/runs/test_queue.py::"
            "test_a_request_taken_before_redis_goes_away_is_found_again"
            "[single-the removal of a request]",
        ),
    ),
    # Sentinel and Cluster
    Mutant(
        "sentinel: the pool never asks for the master again",
        "broadcaster/backend/driver/sentinel.py",
        "                if time.monotonic() >= self._trusted_until:\n"
        "                    await self._look()",
        "                pass",
        (_SENTINEL + "test_sentinels_that_do_not_answer_cost_a_tenth_of_the_time_at_most",),
    ),
    Mutant(
        "sentinel: the blocking pool never asks for the master again",
        "broadcaster/backend/driver/sentinel.py",
        "        if (asked := time.monotonic()) >= self._trusted_until:",
        "        if (asked := time.monotonic()) < 0:",
        (_SENTINEL + "test_sentinels_that_do_not_answer_cost_a_tenth_of_the_time_at_most",),
    ),
    Mutant(
        "sentinel: connections to the old master are kept",
        "broadcaster/backend/driver/sentinel.py",
        "            await self.update_active_connections_for_reconnect()",
        "            pass",
        (_SENTINEL + "test_a_connection_in_use_leaves_the_old_master_when_it_is_given_back",),
    ),
    Mutant(
        "sentinel: the first answer wins over a newer epoch",
        "broadcaster/backend/driver/sentinel.py",
        'best = max(states, key=lambda state: state["config-epoch"], default=None)',
        "best = next(iter(states), None)",
        (_SENTINEL + "test_the_newest_epoch_wins_wherever_it_is_heard",),
    ),
    Mutant(
        "sentinel: a master that is down is accepted",
        "broadcaster/backend/driver/sentinel.py",
        'if state["is_master"] and not (state["is_sdown"] or state["is_odown"]):',
        'if state["is_master"]:',
        (_SENTINEL + "test_an_older_answer_never_leads_back_to_a_master_that_was_replaced",),
    ),
    Mutant(
        "cluster: a command is sent before the slots are known",
        "broadcaster/backend/driver/cluster.py",
        "        await self.initialize()\n        try:",
        "        try:",
        ("tests/e2e/test_sharded_cluster.py",),
    ),
    Mutant(
        "cluster: the keys of each XREAD are looked up at a server",
        "broadcaster/backend/driver/cluster.py",
        "        if stream is not None:\n            return self.keyslot(stream)\n",
        "",
        (_CLUSTER + "test_reading_a_stream_is_one_command",),
    ),
    Mutant(
        "cluster: the servers of the URL are forgotten",
        "broadcaster/backend/driver/cluster.py",
        "                self.nodes_manager.startup_nodes.setdefault(node.name, node)",
        "                pass",
        (_CLUSTER + "test_when_all_servers_have_moved_the_url_still_leads_to_them",),
    ),
)
