"""Mutants of what is made on demand: bounds on requests, and runs that are gone."""

from __future__ import annotations

from tests.mutants import Mutant

_REQUESTER = "broadcaster/backend/runs/requester.py"
_NODE = "broadcaster/node/runs/requests.py"
_ASKING = "tests/backend/runs/test_requester.py::"
_SCRIPTS = "broadcaster/backend/runs/scripts.py"
_RECORDS = "tests/backend/runs/test_records.py::"
_PENDING = "tests/core/runs/test_pending.py::"
_WEB_RUNS = "tests/web/runs/test_endpoint.py::"
_NODES = "tests/node/runs/test_requests.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "subscription: a key may have any length",
        "broadcaster/core/subscription.py",
        '_checked("key", keys), _checked("type", types)',
        '(frozenset(keys) or NONE), _checked("type", types)',
        ("tests/core/test_subscription.py::test_long_keys_and_types_are_refused",),
    ),
    Mutant(
        "requester: a stream takes any number of requests",
        _REQUESTER,
        "if await self._client.xlen(requests) >= self._limit:",
        "if False:",
        (_ASKING + "test_a_stream_takes_few_requests_above_its_limit",),
    ),
    Mutant(
        "requester: what a worker has taken is struck out",
        _REQUESTER,
        "elseif ms < last_ms or (ms == last_ms and seq <= last_seq) then",
        "elseif false then",
        (_ASKING + "test_only_what_no_worker_has_taken_is_struck_out",),
    ),
    Mutant(
        "requester: without rights, everything counts as not taken",
        _REQUESTER,
        'if not string.find(groups.err, "no such key") then return groups end',
        "",
        (_ASKING + "test_nothing_is_struck_out_without_the_right_to_see_what_is_taken",),
    ),
    Mutant(
        "pending: any number of requests without clients stays",
        "broadcaster/core/runs/pending.py",
        "left[: max(0, len(left) - MAX_LEFT)]",
        "left[:0]",
        (_PENDING + "test_of_many_that_are_left_the_oldest_go_at_once",),
    ),
    Mutant(
        "pending: a request is struck out as soon as its client has left",
        "broadcaster/core/runs/pending.py",
        "now_s < request.left_s + self._grace_s:",
        "False:",
        (_PENDING + "test_a_request_is_struck_out_some_time_after_its_client_has_left",),
    ),
    Mutant(
        "opening: a run that is gone is waited for",
        "broadcaster/core/resume/opening.py",
        "        if over is not None:\n            return over\n",
        "        if isinstance(over, Ask | Wait):\n            return over\n",
        (_NODES + "test_a_client_that_returns_at_another_node_after_all_gets_a_new_run",),
    ),
    Mutant(
        "endpoint: whoever may subscribe gets a new run for one that is gone",
        "broadcaster/web/door.py",
        "return await (anew(renewed) if anew else self._opened(scope, now_ms, renewed))",
        "return await self._opened(scope, now_ms, renewed)",
        ("tests/web/access/test_decisions.py::test_a_made_up_run_is_no_way_to_a_request",),
    ),
    Mutant(
        "requests: a client waits for ever for a request that was lost",
        _NODE,
        "        if standing is Standing.ABSENT and self._is_followed(run.run):",
        "        if False:",
        (_NODES + "test_a_client_that_waits_for_a_request_that_is_gone_comes_back",),
    ),
    Mutant(
        "native: a misspelt parameter is ignored",
        "broadcaster/web/dialects/native.py",
        "    if not query.keys() <= PARAMS:",
        "    if False:",
        (
            "tests/web/dialects/test_native.py::"
            "test_a_misspelt_parameter_is_refused_with_the_right_name",
        ),
    ),
    Mutant(
        "main: serve does not warn of misspelt variables",
        "broadcaster/commands/main.py",
        "    if not child:\n        _warn_of_variables()",
        "    if False:\n        _warn_of_variables()",
        ("tests/commands/test_main.py::test_a_misspelt_variable_is_said_at_the_start",),
    ),
    Mutant(
        "jsontext: NaN becomes null",
        "broadcaster/core/json/jsontext.py",
        '    if b"null" in text:',
        "    if False:",
        ("tests/core/json/test_jsontext.py",),
    ),
    Mutant(
        "lines: digits of data are parsed",
        "broadcaster/core/json/incoming.py",
        """data = value if raw.startswith('"') else raw""",
        """data = str(value) if raw.startswith('"') else json.dumps(json.loads(raw))""",
        ("tests/core/json/test_incoming.py::test_data_goes_out_as_it_is_written",),
    ),
    Mutant(
        "tail: the time of a line is that of another channel",
        "broadcaster/commands/tail.py",
        'moved = ",".join(set(id_.split(",")) - set(before.split(","))) or id_',
        "moved = id_",
        ("tests/commands/test_terminal.py::test_the_time_of_each_line_is_that_of_its_own_event",),
    ),
    Mutant(
        "answers: the page does not name the demo's Redis",
        "broadcaster/web/replies.py",
        'redis=getattr(state, "shown_redis_url", "")',
        'redis=""',
        (
            "tests/e2e/test_page.py::"
            "test_the_demo_places_an_order_and_its_commands_work_as_shown[chromium]",
        ),
    ),
    Mutant(
        "runs: a worker begins a run that is too old",
        "broadcaster/backend/runs/queue.py",
        "        return self._clock.now_ms() > EventId.of_entry(entry.encode()).ms + lives_ms",
        "        return False",
        ("tests/backend/runs/test_queue.py::test_a_request_that_is_too_old_is_not_begun",),
    ),
    Mutant(
        "runs: a restart before the first piece changes the numbers of events",
        _SCRIPTS,
        "  if told > 0 then",
        "  if true then",
        (
            "tests/answers/test_responses.py"
            "::test_an_answer_that_begins_anew_before_its_first_word_has_the_same_numbers",
        ),
    ),
    Mutant(
        "runs: news of an older run drops the newer one of the same request",
        "broadcaster/backend/runs/queue.py",
        "        if self._active.get(run.id) is run:",
        "        if run.id in self._active:",
        (
            "tests/backend/runs/test_queue.py"
            "::test_news_of_an_older_run_does_not_end_the_newer_one_of_the_same_request[single]",
        ),
    ),
    Mutant(
        "runs: a run that a GET began is not found by its key",
        _SCRIPTS,
        '  redis.call("HSET", about, "run", run)\n',
        "",
        (_RECORDS + "test_the_newest_run_about_a_key_is_found_however_it_has_begun[single]",),
    ),
    Mutant(
        "listeners: a worker without runs reads the nodes",
        "broadcaster/backend/runs/listeners.py",
        "        if not runs or time.monotonic()",
        "        if time.monotonic()",
        ("tests/backend/runs/test_listeners.py::test_a_worker_that_keeps_no_run_does_not_ask",),
    ),
    Mutant(
        "runs: a worker that was taken over goes on writing",
        _SCRIPTS,
        'if known[2] ~= ARGV[3] then return "lost" end\nif known[3] == ARGV[4]',
        "if known[3] == ARGV[4]",
        (
            "tests/backend/runs/test_queue.py::test_a_dead_worker_s_run_goes_on_where_it_stopped[single]",
        ),
    ),
    Mutant(
        "runs: a batch is written again",
        _SCRIPTS,
        'if known[3] == ARGV[4] then return "written" end',
        "",
        (_RECORDS + "test_a_batch_is_written_once_and_only_in_its_turn[single]",),
    ),
    Mutant(
        "runs: a run has several ends",
        _SCRIPTS,
        "if OVER[known[1]] then return {known[1], known[2]} end",
        "",
        (_RECORDS + "test_the_first_end_wins_and_there_is_one[single]",),
    ),
    Mutant(
        "runs: a worker takes a run that another one has",
        _SCRIPTS,
        'if state == "running" and lease and tonumber(lease) > now then return {"taken"} end',
        "",
        (_RECORDS + "test_a_run_has_one_worker_until_its_lease_ends[single]",),
    ),
    Mutant(
        "runs: a request kills workers for ever",
        _SCRIPTS,
        'if redis.call("HINCRBY", record, "deliveries", 1) > tonumber(ARGV[4]) then',
        "if false then",
        (_RECORDS + "test_a_request_that_keeps_killing_its_worker_fails[single]",),
    ),
    Mutant(
        "runs: an end that is not due is written",
        _SCRIPTS,
        'if now < due then return {"alive"} end',
        "",
        (_RECORDS + "test_where_no_worker_lives_a_run_is_ended_by_the_clock_of_redis[single]",),
    ),
    Mutant(
        "runs: another piece is published in the place of one that is unsure",
        "broadcaster/backend/runs/run.py",
        "if self._unsure is not None and wanted != self._unsure:",
        "if False:",
        (
            "tests/backend/runs/test_queue.py::"
            "test_a_piece_is_published_once_though_its_answer_was_lost[single]",
        ),
    ),
    Mutant(
        "subscription: a filter of types leaves out restarts",
        "broadcaster/core/subscription.py",
        "always = terminal | restarts",
        "always = terminal",
        (_NODES + "test_a_client_is_told_that_an_answer_begins_anew[&type=t]",),
    ),
    Mutant(
        "runs: another subject follows a run",
        "broadcaster/web/runs/endpoint.py",
        "        if holder and holder.subject == record.owner:",
        "        if holder:",
        (_WEB_RUNS + "test_a_run_belongs_to_the_one_that_began_it",),
    ),
    Mutant(
        "runs: a subject has any number of runs",
        _SCRIPTS,
        'if redis.call("ZCARD", owned) >= tonumber(most) then return false end',
        "",
        (_RECORDS + "test_an_owner_has_so_many_runs_that_are_not_over[single]",),
    ),
    Mutant(
        "following: each return asks for the record",
        "broadcaster/web/runs/following.py",
        "if (positions or states) and not asks and window.has(str(run)):",
        "if False:",
        (_WEB_RUNS + "test_a_follower_that_comes_back_goes_on_and_costs_no_command",),
    ),
    Mutant(
        "following: a follower begins at the newest event",
        "broadcaster/web/runs/following.py",
        "record.first.before() if record.first else head",
        "head",
        (_WEB_RUNS + "test_a_run_from_its_beginning_to_its_end",),
    ),
    Mutant(
        "waiting: a client without a worker waits in silence",
        "broadcaster/node/runs/runs.py",
        "                    tell(self._hub, run, found)",
        "                    pass",
        (_WEB_RUNS + "test_a_client_learns_that_the_worker_of_its_run_is_gone",),
    ),
    Mutant(
        "waiting: a client that begins a run waits in silence",
        "broadcaster/node/runs/requests.py",
        "            tell(self._hub, run.run,",
        "            (self._hub, run.run,",
        (_WEB_RUNS + "test_a_client_without_a_worker_does_not_wait_in_silence",),
    ),
    Mutant(
        "waiting: runs with events are looked at for ever",
        "broadcaster/node/runs/waiting.py",
        "if run in left or not window.has(key):",
        "if True:",
        (
            "tests/node/runs/test_waiting.py::"
            "test_only_runs_without_an_event_are_looked_at_and_those_whose_worker_is_gone",
        ),
    ),
    Mutant(
        "bare: a GET begins where the client's cursor is",
        "broadcaster/web/runs/bare.py",
        "positions={}, run=None, ",
        "",
        ("tests/web/runs/test_bare.py::test_the_events_of_the_newest_run_and_no_others",),
    ),
    Mutant(
        "bare: a run that is over is followed",
        "broadcaster/web/runs/following.py",
        "    if active and record.state.over:",
        "    if False:",
        ("tests/web/runs/test_bare.py::test_the_events_of_the_newest_run_and_no_others",),
    ),
    Mutant(
        "formatted: each cut is an error in the log",
        "broadcaster/web/runs/formatted.py",
        "        return not isinstance(error, CutError)",
        "        return True",
        ("tests/web/runs/test_bare.py::test_half_a_run_never_ends_cleanly",),
    ),
    Mutant(
        "endpoint: a long query of a follower is not counted",
        "broadcaster/web/endpoint.py",
        "            return self._wrong(error)",
        "            return problem(400, str(error))",
        ("tests/web/runs/test_bare.py::test_what_is_refused",),
    ),
    Mutant(
        "worker: what a worker has written is lost when it ends",
        "broadcaster/backend/runs/worker.py",
        "                await run.flush()",
        "                pass",
        (
            "tests/backend/runs/test_worker.py::test_a_worker_that_ends_publishes_what_it_has_written",
        ),
    ),
    Mutant(
        "registry: no worker learns who follows its runs",
        "broadcaster/node/registry.py",
        "return {FOLLOWED: found} if found else {}",
        "return {}",
        ("tests/backend/runs/test_listeners.py::test_from_the_clients_of_a_node_to_the_worker",),
    ),
    Mutant(
        "following: a bare client begins with half of a state",
        "broadcaster/core/state/states.py",
        "        return self.is_whole(stream)",
        "        return True",
        ("tests/core/resume/test_joining.py::test_only_a_whole_state_of_texts_stands_for_the_log",),
    ),
    Mutant(
        "following: a bare client is sent the log though there is a state",
        "broadcaster/web/runs/following.py",
        "    if active and node.hub.states.has_texts(stream):",
        "    if False:",
        (
            "tests/web/runs/test_bare.py::test_where_a_state_has_all_of_a_run"
            "_it_begins_with_that_and_asks_redis_for_no_event",
        ),
    ),
    Mutant(
        "formatted: a client that takes nothing is cut for another reason",
        "broadcaster/web/runs/formatted.py",
        'raise CutError("its client takes nothing", Ending.SEND_TIMEOUT) from error',
        'raise CutError("its client takes nothing") from error',
        ("tests/web/runs/test_formatted.py::test_a_client_that_takes_nothing_is_cut",),
    ),
    Mutant(
        "outbox: that texts wait is said at each try",
        "broadcaster/backend/runs/outbox.py",
        "        if trouble and not self._waits:",
        "        if trouble:",
        (
            "tests/backend/runs/test_outbox.py::"
            "test_texts_that_wait_are_said_once_with_what_to_do_and_so_is_the_end_of_that",
        ),
    ),
    Mutant(
        "outbox: a text is joined with one of another type",
        "broadcaster/backend/runs/outbox.py",
        "        if not texts.fits(type_):",
        "        if False:",
        ("tests/backend/runs/test_outbox.py::test_the_end_and_another_type_do_not_wait",),
    ),
    Mutant(
        "outbox: what was written while a batch was on its way is not written",
        "broadcaster/backend/runs/outbox.py",
        "            self._put(texts, min(texts.due_s, texts.next_s))",
        "            pass",
        (
            "tests/backend/runs/test_outbox.py::test_what_comes_while_a_batch_is_on_its_way_is_written_after_it",
        ),
    ),
    Mutant(
        "outbox: all runs of a worker come to share one long pipeline",
        "broadcaster/backend/runs/moments.py",
        "        self._newest = (self._newest + 1) % _MOMENTS",
        "",
        (
            "tests/backend/runs/test_moments.py::test_runs_that_begin_together_are_spread_over_ten_moments",
        ),
    ),
    Mutant(
        "outbox: a first text waits for the texts of other runs",
        "broadcaster/backend/runs/outbox.py",
        "        if due_s <= 0:",
        "        if False:",
        (
            "tests/backend/runs/test_outbox.py"
            "::test_a_first_text_and_what_is_flushed_wait_for_no_pipeline_of_others",
        ),
    ),
    Mutant(
        "outbox: a batch that is on its way is sent twice",
        "broadcaster/backend/runs/outbox.py",
        "            if texts.sent:  # it gets another place when that is answered",
        "            if False:",
        (
            "tests/backend/runs/test_outbox.py"
            "::test_a_batch_on_its_way_is_not_sent_again_when_it_is_flushed",
        ),
    ),
    Mutant(
        "queue: work goes on for a run that a batch has found stopped",
        "broadcaster/backend/runs/queue.py",
        "            self._gone.append(run)",
        "            pass",
        (
            "tests/backend/runs/test_queue.py"
            "::test_a_run_that_a_batch_has_found_stopped_is_returned_once[single]",
        ),
    ),
    Mutant(
        "scripts: Redis has restarted, and no run goes on",
        "broadcaster/backend/driver/scripts.py",
        "    if unknown:",
        "    if False:",
        (
            "tests/backend/driver/test_scripts.py::"
            "test_a_script_is_sent_whole_only_where_it_is_not_known",
        ),
    ),
    Mutant(
        "worker: the work on a run that is stopped goes on",
        "broadcaster/backend/runs/worker.py",
        "                if task := self._tasks.get(run):\n                    task.cancel()",
        "                pass",
        ("tests/backend/runs/test_worker.py::test_the_work_on_a_run_that_is_stopped_ends",),
    ),
    Mutant(
        "runs: no node ends what no worker ends",
        "broadcaster/node/runs/runs.py",
        "                await records.end_if_due(run)",
        "                pass",
        ("tests/node/runs/test_runs.py::test_a_node_ends_a_run_whose_worker_is_gone",),
    ),
    Mutant(
        "answers: half an answer ends cleanly",
        "broadcaster/node/runs/events.py",
        "    if listener.ending is not Ending.COMPLETE:",
        "    if False:",
        ("tests/answers/test_facade.py::test_half_an_answer_never_ends_cleanly",),
    ),
    Mutant(
        "answers: events of openai that a client has are sent again",
        "broadcaster/answers/formats/openai.py",
        "        if number <= self._after:",
        "        if False:",
        (
            "tests/answers/formats/test_openai.py::test_what_a_client_has_is_left_out_and_numbers_stay",
        ),
    ),
    Mutant(
        "answers: words that were not published yet are lost when an answer fails",
        "broadcaster/backend/runs/run.py",
        "  # it may be what this run fails of\n            await self.flush()",
        "\n            pass",
        (
            "tests/answers/test_facade.py::test_a_process_that_ends_publishes_what_it_has_gathered",
            "tests/answers/test_facade.py::test_a_model_that_fails_is_said_after_all_of_its_words",
        ),
    ),
    Mutant(
        "answers: the work on an answer that is stopped goes on",
        "broadcaster/answers/producing.py",
        '                if standing != "running" and (task := self._tasks.get(run)):',
        "                if False and (task := self._tasks.get(run)):",
        ("tests/answers/test_facade.py::test_stop_works_from_any_pod_and_ends_the_model",),
    ),
    Mutant(
        "runs: a worker takes over what is produced where it was asked for",
        _SCRIPTS,
        """redis.call("HGET", record, "wait") == "0" then""",
        "false then",
        (
            _RECORDS + "test_a_run_that_is_produced_where_it_was_asked_for_is_taken_over"
            "_by_no_worker[single]",
        ),
    ),
)
