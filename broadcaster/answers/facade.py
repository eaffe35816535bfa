"""`Answers`, which serves the output of models from applications of FastAPI and Starlette."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import orjson

from broadcaster.answers.formats import COMPLETE, Format, format_for
from broadcaster.answers.producing import Producers
from broadcaster.answers.responses import AnswerReader, cancelled, retrieved
from broadcaster.answers.sources import closed
from broadcaster.app import Application, create_app
from broadcaster.backend.publishing.publisher import Publisher
from broadcaster.backend.runs.outbox import BATCH_S
from broadcaster.backend.runs.queue import TAKEOVER_S
from broadcaster.backend.runs.records import Records
from broadcaster.backend.runs.run import Run
from broadcaster.backend.runs.values import Asked, Begun
from broadcaster.core import cursor
from broadcaster.core.channel import Channel
from broadcaster.core.event import EventId
from broadcaster.core.runs.record import Record, new_run, run_named
from broadcaster.errors import BroadcasterError
from broadcaster.node.runs.events import run_events
from broadcaster.settings import Settings
from broadcaster.web.runs.formatted import FormattedResponse, Response, not_now, nothing, too_many

_ID_BYTES = 16
_LOADING = "the hub is still loading"
_TOO_MANY = "too many answers wait or are made"


class Answers:
    """Produces answers in this process, and serves those that were produced in any process.

    It mounts a hub into the application, and starts and ends with the application.

    Attributes:
        hub: the application that is mounted.
        channel: the channel of the answers.
    """

    def __init__(
        self,
        app: Any,
        redis_url: str,
        *,
        channel: str = "answers",
        mount: str = "/live",
        takeover_s: float = TAKEOVER_S,
        batch_s: float = BATCH_S,
    ) -> None:
        """Mount a hub into an application.

        Args:
            app: in FastAPI or Starlette. It may have a lifespan of its own.
            redis_url: where Redis is.
            channel: the name of the channel, which is the name of its stream in Redis, too.
            mount: the path of the hub.
            takeover_s: seconds after which an answer fails whose process is gone.
            batch_s: seconds for which the tokens of an answer are gathered.

        Raises:
            ConfigurationError: the url or the name can't be used.
        """
        self.channel = Channel(
            name=channel,
            path=f"/v1/{channel}/stream",
            requests=f"{channel}.requests",
            terminal=frozenset({COMPLETE}),
        )
        settings = Settings(redis_url=redis_url, channels={channel: self.channel})
        self.hub: Application = create_app(settings)
        self._settings = settings
        self._lease_s = takeover_s
        self._publisher = Publisher(redis_url, channels=[self.channel])
        self._records = Records(self._publisher.redis, channel, self.channel.maxlen)
        self._producers = Producers(self._records, lease_s=takeover_s, batch_s=batch_s)
        app.mount(mount, self.hub)
        app.router.lifespan_context = partial(self._lifespan, app.router.lifespan_context)

    @contextlib.asynccontextmanager
    async def _lifespan(self, inner: Any, app: Any) -> AsyncIterator[Any]:
        async with self.hub.router.lifespan_context(self.hub), inner(app) as state:
            try:
                yield state
            finally:
                await self._producers.aclose()
                await self._publisher.aclose()

    async def start(
        self, chat_id: str, stream: Any, *, format: str = "ai-sdk", subject: str = "", run: str = ""
    ) -> Response:
        """Begin an answer, and return the response with it.

        The answer goes on if its client leaves. If no answer begins, the stream is closed.

        Args:
            chat_id: the conversation. `resume` and `stop` find its newest answer by this.
            stream: an async iterator of texts, a stream of `openai`, or what `run_stream` of
                `pydantic-ai` returns.
            format: the words that the client knows: `ai-sdk`, `ag-ui`, or `openai` for the events
                of its Responses API.
            subject: the user that asks, whose answers the setting `runs_per_subject` limits.
            run: a name that the client gives to this answer, such as the `runId` of AG-UI. If the
                chat has an answer of this name, the response has that one, and none begins.

        Returns:
            The response. No answer begins if it is 503, because Redis is away, or 429, because the
            subject has all the answers that it may have.

        Raises:
            ConfigurationError: there is no such format.
        """
        async with contextlib.AsyncExitStack() as refusal:
            refusal.push_async_callback(closed, stream)
            made, id_ = format_for(format, chat_id, run), _id(chat_id, run)
            if (head := await self._head()) is None:
                return not_now(_LOADING)
            asked = Asked(chat_id, str(id_), subject, ttl_s=self._settings.run_ttl_s)
            most = self._settings.runs_per_subject if subject else 0
            try:
                begun = await self._records.begin(str(id_), asked, self._lease_s, most)
                found = None if begun else await self._records.find(id_)
            except BroadcasterError as error:
                return not_now(str(error))
            if found:  # its client has named it before
                return self._from_beginning(made, id_, found, head)
            if begun is None:
                return too_many(_TOO_MANY)
            self._producers.start(self._run(str(id_), begun), stream)
            refusal.pop_all()
        return self._response(made, id_, head, begun.began_ms)

    def _run(self, id_: str, begun: Begun) -> Run:
        return Run(
            id_,
            begun,
            self._records,
            encode=self._entry,
            release=lambda _: None,
            outbox=self._producers.outbox,
            lease_s=self._lease_s,
            now_ms=self.hub.state.node.clock.now_ms,
        )

    async def ask(
        self, chat_id: str, body: Any, *, format: str = "ai-sdk", subject: str = "", run: str = ""
    ) -> Response:
        """Give an answer to the workers of the channel, and return the response with it.

        A worker takes it with a `RunQueue`. If it dies, another one goes on or begins anew.

        Args:
            chat_id: as for `start`.
            body: any value that JSON has. The worker gets it as `Run.body`.
            format: as for `start`.
            subject: as for `start`.
            run: as for `start`.

        Returns:
            The response; 503 if Redis is away, and 429 if too many answers wait for a worker, or
            the subject has all that it may have.

        Raises:
            ConfigurationError: there is no such format.
        """
        made, node = format_for(format, chat_id, run), self.hub.state.node
        if (head := await self._head()) is None:
            return not_now(_LOADING)
        id_ = _id(chat_id, run)
        try:
            if run and (found := await self._records.find(id_)):
                return self._from_beginning(made, id_, found, head)
            wanted = chat_id, subject, orjson.dumps(body), id_
            if await node.runs.begin(self.channel, *wanted) is None:
                return too_many(_TOO_MANY)
        except BroadcasterError as error:
            return not_now(str(error))
        return self._response(made, id_, head, node.clock.now_ms())

    async def resume(self, chat_id: str, *, format: str = "ai-sdk") -> Response:
        """Return the response with the newest answer, from its beginning; 204 if that is over.

        Args:
            chat_id: as for `start`.
            format: as for `start`.

        Raises:
            ConfigurationError: there is no such format.
        """
        made = format_for(format, chat_id)
        if (head := await self._head()) is None:
            return not_now(_LOADING)
        try:
            run = await self._records.newest(chat_id)
            record = await self._records.find(run) if run else None
        except BroadcasterError as error:
            return not_now(str(error))
        if run is None or record is None or record.state.over:
            return nothing()
        return self._from_beginning(made, run, record, head)

    async def stop(self, chat_id: str) -> bool:
        """Stop the newest answer, from any process. Return False if there is none, or it is over.

        Raises:
            BackendUnavailableError: Redis is away.
        """
        run = await self._records.newest(chat_id)
        return run is not None and await self._records.stop(run) == "ended"

    async def retrieve(
        self, response_id: str, *, stream: bool = False, starting_after: int | None = None
    ) -> Response:
        """Return an answer in the format `openai`, as its `responses.retrieve` asks for it.

        Args:
            response_id: the id that is in the events of the format `openai`.
            stream: True returns all events, live. False returns the response so far, as JSON.
            starting_after: the number of the last event that the client has.

        Returns:
            The response. It is 404 if there is no such answer, or it ended too long ago, and 503 if
            it can't be read now.
        """
        return await retrieved(self._reader(), response_id, stream, starting_after)

    async def cancel(self, response_id: str) -> Response:
        """Stop an answer, and return it as `retrieve` does. One that is over stays as it is."""
        return await cancelled(self._reader(), response_id)

    async def _head(self) -> EventId | None:
        """Return the position of the newest event; None if the hub is still loading."""
        node = self.hub.state.node
        if not await node.loaded([self.channel.name]):
            return None
        head: EventId = node.hub.windows[self.channel.name].head
        return head

    def _reader(self) -> AnswerReader:
        node = self.hub.state.node
        return AnswerReader(node, self.channel.name, self._records, self._follow, self._response)

    def _from_beginning(
        self, made: Format, run: EventId, record: Record, head: EventId
    ) -> FormattedResponse:
        beginning = record.first or record.last
        at = beginning.before() if beginning else head
        return self._response(made, run, at, record.began_ms)

    def _response(
        self, made: Format, run: EventId, at: EventId, began_ms: int
    ) -> FormattedResponse:
        node, stream = self.hub.state.node, self.channel.name
        return FormattedResponse(
            made, str(run), self._follow(run, at), began_ms=began_ms, node=node, stream=stream
        )

    def _entry(self, type_: str, key: str, data: Any) -> Any:
        return self._publisher.outgoing.entry((self.channel.name, type_, key, data))

    def _follow(
        self, run: EventId, at: EventId, *, until_live: bool = False
    ) -> AsyncIterator[tuple[str, str]]:
        """Return the type and the data of each event of a run, as `run_events` says.

        Args:
            run: its id.
            at: a position before its first event.
            until_live: end, cleanly, where the past ends.

        Raises:
            CutError: the whole answer can't be sent. Its client has to come back.
        """
        after = cursor.render({self.channel.name: at}, run).decode()
        listener = self.hub.subscribe(self.channel.name, keys=str(run), after=after)
        return run_events(listener, str(run), until_live=until_live)


def _id(chat_id: str, name: str) -> EventId:
    """Return the id of a run: the one that its client has named, or a new one."""
    return run_named(chat_id, name) if name else new_run(os.urandom(_ID_BYTES))
