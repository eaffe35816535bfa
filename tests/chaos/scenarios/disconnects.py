"""Connections that are lost: at every byte, at random, all at once."""

from __future__ import annotations

from tests.chaos.stage import Stage


async def every_byte(stage: Stage) -> None:
    """Cut the stream after every byte of a recording, and resume on the other node."""


async def churn(stage: Stage) -> None:
    """Cut connections at random, with a mean life of 5 s; clients change between two nodes."""
    clients = stage.count(2000, 300)
    seconds = stage.size(300.0, 20.0)
    await stage.start_nodes(2)
    await stage.load.ask("churn", mean_life_s=5.0)
    await stage.open_mix(clients)
    producer = stage.producer(streams=("a", "b"))
    await producer.run(stage.size(50, 100), seconds)
    await stage.load.ask("churn", mean_life_s=0.0)
    await stage.load.ask("drop")
    await stage.settle()
    wanted = stage.count(1_000_000, 100_000)
    stage.show(
        f"at least {wanted:,} deliveries are checked",
        f"{stage.report.deliveries:,} over {stage.report.connections:,} connections",
        stage.report.deliveries >= wanted,
    )
    stage.show("no reset", f"{stage.report.resets.total()}", not stage.report.resets)
