"""`broadcaster fold`: keeps the state of channels in Redis."""

from __future__ import annotations

import asyncio
import logging

from broadcaster.commands.host import stop_signals
from broadcaster.commands.output import say
from broadcaster.errors import ConfigurationError
from broadcaster.node.state.folder import Folder, folded
from broadcaster.settings import Settings

logger = logging.getLogger(__name__)


async def fold(settings: Settings) -> None:
    """Fold until SIGINT, SIGTERM or SIGHUP, and flush what is left.

    Args:
        settings: of the nodes, with their channels.

    Raises:
        ConfigurationError: no channel has a state, or the url of Redis can't be used.
    """
    streams = folded(settings.channels.values())
    if not streams:
        raise ConfigurationError('no channel has a state: set state = "last" for one')
    url = settings.require_redis_url()
    folder = Folder(url, streams, max_event_bytes=settings.max_event_bytes)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stop.set)
    say(f"Folding {', '.join(stream.name for stream in streams)}. Ctrl-C stops it.")
    await folder.run(stop)
