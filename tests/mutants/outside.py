"""Mutants of what stands beside the layers: settings, logs, figures, commands and the client."""

from __future__ import annotations

from tests.mutants import Mutant

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "channel: an id may name any number of shards",
        "broadcaster/core/channel.py",
        "if self.shards > MAX_SHARDS:",
        "if False:",
        ("tests/core/test_channel.py::test_invalid_channels_are_refused_and_named",),
    ),
    Mutant(
        "logs: a node waits for the reader of its log",
        "broadcaster/commands/output.py",
        "        if not poll.poll(0):\n            return at\n",
        "",
        (
            "tests/commands/test_output.py::"
            "test_a_node_serves_while_the_reader_of_its_log_is_stopped",
        ),
    ),
    Mutant(
        "peers: another user of the machine is answered",
        "broadcaster/node/peers.py",
        "if user != os.geteuid():",
        "if False:",
        ("tests/node/test_peers.py::test_another_user_is_not_answered_and_not_believed",),
    ),
    Mutant(
        "peers: the processes need a directory on Linux",
        "broadcaster/node/peers.py",
        'if sys.platform == "linux":\n        yield',
        "if False:\n        yield",
        ("tests/node/test_peers.py::test_nothing_is_left_of_a_place_on_linux",),
    ),
    Mutant(
        "output: a line that can't be written ends a node",
        "broadcaster/commands/output.py",
        "        click.secho(text, err=err, dim=dim)\n    except OSError:",
        "        click.secho(text, err=err, dim=dim)\n    except ZeroDivisionError:",
        ("tests/commands/test_output.py::test_a_node_serves_without_its_output",),
    ),
    Mutant(
        "workers: a refusal that comes while a worker works ends it",
        "workers/runner.py",
        "                self._has_worked = True\n",
        "",
        ("tests/workers/test_runner.py::test_a_refusal_for_good_ends_a_worker_only_at_its_start",),
    ),
    Mutant(
        "workers: the steps of an order have a type, so that onmessage never hears of them",
        "workers/orders.py",
        "    transaction.publish(CHANNEL, key=order_id, data=data)\n",
        '    transaction.publish(CHANNEL, type="status", key=order_id, data=data)\n',
        ("tests/workers/test_orders.py::test_a_placed_order_takes_its_pet_at_once",),
    ),
    Mutant(
        "registry: a node that was refused once is not announced again",
        "broadcaster/node/registry.py",
        "                failures += 1\n",
        "                return\n",
        ("tests/e2e/test_refusals.py",),
    ),
    Mutant(
        "settings: credentials are allowed for every origin",
        "broadcaster/settings/node.py",
        'if self.cors_credentials and "*" in self.cors_origins:',
        "if False:",
        ("tests/test_settings.py::test_what_cannot_work_is_refused",),
    ),
    Mutant(
        "logs: a path can add lines to the access log",
        "broadcaster/commands/logs.py",
        """printable(fields).replace("\\n", "\\\\x0a")""",
        "printable(fields)",
        (
            "tests/commands/test_logs.py::test_control_characters_in_the_log_do_not_reach_a_terminal",
        ),
    ),
    Mutant(
        "logs: DEL and C1 characters get into JSON",
        "broadcaster/commands/logs.py",
        """return _CONTROL.sub(lambda match: f"\\\\u""",
        """return re.sub("^$", lambda match: f"\\\\u""",
        ("tests/commands/test_logs.py::test_a_log_line_is_one_json_object",),
    ),
    Mutant(
        "client: it reconnects to a failing server without a pause",
        "broadcaster/client/source.py",
        "max(wait_s, _LEAST_BACKOFF_S)",
        "wait_s",
        ("tests/client/test_source.py::test_reconnects_to_a_failing_server_have_a_pause",),
    ),
    Mutant(
        "peers: a process that died fails the scrape",
        "broadcaster/node/peers.py",
        "    except OSError as error:  # the process has died, and will be replaced",
        "    except ZeroDivisionError as error:",
        ("tests/node/test_peers.py::test_processes_answer_for_each_other",),
    ),
    Mutant(
        "logs: control characters from outside reach a terminal",
        "broadcaster/commands/logs.py",
        "return printable(super().format(record)) +",
        "return super().format(record) +",
        (
            "tests/commands/test_logs.py::test_control_characters_in_the_log_do_not_reach_a_terminal",
        ),
    ),
    Mutant(
        "tail: control characters from outside reach a terminal",
        "broadcaster/commands/tail.py",
        "(printable(event.data), style),",
        "(event.data, style),",
        ("tests/commands/test_terminal.py::test_tail_writes_lines_for_people",),
    ),
    Mutant(
        "demo: the workers are not found in a wheel",
        "broadcaster/commands/pet_store.py",
        'return installed.name if installed.is_dir() else "workers"',
        'return "workers"',
        ("tests/deploy/test_wheel.py::test_the_demo_runs",),
    ),
    Mutant(
        "supervisor: a process that hangs is not ended",
        "broadcaster/commands/supervisor.py",
        "    process.kill()\n",
        "    return\n",
        ("tests/commands/test_supervisor.py::test_one_that_never_listens_is_ended_as_well",),
    ),
    Mutant(
        "supervisor: a process that answers is ended",
        "broadcaster/commands/supervisor.py",
        "misses = 0 if is_alive",
        "misses = misses + 1 if is_alive",
        ("tests/commands/test_supervisor.py::test_a_process_that_answers_is_left_alone",),
    ),
    Mutant(
        "supervisor: a process that hangs after its start is taken for one that starts",
        "broadcaster/commands/supervisor.py",
        "while not await peers.listens(child.place, child.process):",
        "while not await peers.is_alive(child.place, child.process, 5.0):",
        (
            "tests/commands/test_supervisor.py"
            "::test_one_that_hangs_before_its_first_answer_has_not_the_time_of_a_start",
        ),
    ),
    Mutant(
        "server: SIGHUP does not drain",
        "broadcaster/web/uvicorn/server.py",
        "with super().capture_signals(), _on_hangup(self.handle_exit):",
        "with super().capture_signals():",
        ("tests/commands/test_serve.py::test_a_hangup_drains_a_node",),
    ),
    Mutant(
        "host: SIGHUP ends a node despite nohup",
        "broadcaster/commands/host.py",
        "signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:",
        "True:",
        ("tests/commands/test_serve.py::test_a_hangup_that_is_ignored_stays_ignored",),
    ),
    Mutant(
        "nginx: lines are stored before they are passed on",
        "deploy/nginx.conf",
        "            proxy_request_buffering off;\n",
        "",
        ("tests/deploy/test_proxies.py::test_lines_are_published_while_they_come",),
    ),
    Mutant(
        "nginx: a body of lines has a bound",
        "deploy/nginx.conf",
        "            client_max_body_size 0;\n",
        "",
        ("tests/deploy/test_proxies.py::test_lines_are_published_while_they_come",),
    ),
    Mutant(
        "haproxy: pages that are reached from its own answers learn a url",
        "deploy/haproxy.cfg",
        "    http-after-response set-header referrer-policy no-referrer\n",
        "",
        ("tests/deploy/test_proxies.py::test_every_answer_can_be_read_by_the_configured_origins",),
    ),
    Mutant(
        "nginx: pages can't read its own refusals",
        "deploy/nginx.conf",
        '        "" $cors_origin;\n',
        "",
        (
            "tests/deploy/test_proxies.py::"
            "test_the_refusals_of_nginx_can_be_read_as_far_as_it_has_read",
        ),
    ),
    Mutant(
        "haproxy: a preflight is refused while no node can answer",
        "deploy/haproxy.cfg",
        "    http-request unset-var(txn.true_status)",
        "    # http-request unset-var(txn.true_status)",
        ("tests/deploy/test_proxies.py::test_a_preflight_is_answered_with_yes_where_no_node_can",),
    ),
    Mutant(
        "nginx: a preflight learns of no headers while no node can answer",
        "deploy/nginx.conf",
        "        1 $http_access_control_request_headers;\n",
        "",
        ("tests/deploy/test_proxies.py::test_a_preflight_is_answered_with_yes_where_no_node_can",),
    ),
    Mutant(
        "supervisor: children do not learn the host that their parent was given",
        "broadcaster/commands/supervisor.py",
        '_OPTIONS = ("host", "port",',
        '_OPTIONS = ("port",',
        (
            "tests/commands/test_supervisor.py::"
            "test_children_read_what_their_parent_was_given_as_options",
        ),
    ),
    Mutant(
        "tail: the events of a state have the id from before it",
        "broadcaster/commands/tail.py",
        '    id_ = "" if event.state else event.id\n    line',
        "    id_ = event.id\n    line",
        ("tests/commands/test_tail.py::test_a_state_comes_without_ids_before_what_follows",),
    ),
)
