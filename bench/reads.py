"""The cost of nodes without clients, for Redis and for themselves: `python -m bench.reads`.

Each node reads Redis once, however many clients it has. The load on Redis therefore grows with the
number of nodes. Here several nodes follow one server while events are published at a fixed rate.
The CPU time is that of the server, and the mean of the nodes. Linux only.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path

import click
import redis
from rich.console import Console
from rich.table import Table

from bench.child import Child
from bench.events import CHANNEL, TYPE, paced, stamped
from bench.report import machine
from broadcaster import EmbeddedRedis, Outgoing, SyncPublisher

RESULTS = Path(__file__).parent / "results" / "reads.json"

_SETTLE_S = 2.0
_BYTES = 180


def measure(nodes: int, rate: float, seconds: float) -> dict[str, float]:
    """CPU time of Redis and of a node, in seconds per second, while nodes follow it."""
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedRedis())
        client = stack.enter_context(redis.Redis.from_url(server.url))
        publisher = stack.enter_context(SyncPublisher(server.url))
        settings = json.dumps({"redis_url": server.url})
        followers = [
            stack.enter_context(Child("bench.node", "transport", settings)) for _ in range(nodes)
        ]
        for follower in followers:
            follower.answer()
        time.sleep(_SETTLE_S)

        def cpu() -> tuple[float, float]:
            info = client.info("cpu")
            return (
                info["used_cpu_user"] + info["used_cpu_sys"],
                sum(follower.cpu_s for follower in followers) / nodes,
            )

        before, began_s, published = cpu(), time.monotonic(), 0
        if rate:
            for count in paced(rate, seconds):
                published += count
                data = stamped(_BYTES).decode()
                publisher.publish_many([Outgoing(CHANNEL, TYPE, "", data)] * count)
        else:
            time.sleep(seconds)
        after, passed_s = cpu(), time.monotonic() - began_s
    redis_cpu, node_cpu = (
        (end - start) / passed_s for start, end in zip(before, after, strict=True)
    )
    reached = published / passed_s
    return {"nodes": nodes, "rate": reached, "redis_cpu": redis_cpu, "node_cpu": node_cpu}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--nodes", default="1,8", show_default=True, help="How many nodes, one by one.")
@click.option("--rates", default="0,10,100,1000,10000,50000", show_default=True, help="Events/s.")
@click.option("--seconds", default=5.0, show_default=True, help="Length of each measurement.")
def main(nodes: str, rates: str, seconds: float) -> None:
    """Measure what following costs, for each number of nodes and each rate."""
    rows = []
    table = Table("nodes", "events/s", "Redis CPU %", "node CPU %")
    console = Console()
    for rate in map(float, rates.split(",")):
        for count in map(int, nodes.split(",")):
            with console.status(f"{count} nodes, {rate:g} events/s"):
                row = measure(count, rate, seconds)
            rows.append(row)
            shares = (f"{row[name] * 100:.2f}" for name in ("redis_cpu", "node_cpu"))
            table.add_row(str(count), f"{row['rate']:.0f}", *shares)
    console.print(table)
    RESULTS.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
