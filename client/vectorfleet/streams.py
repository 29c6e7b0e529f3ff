"""Sends the parts of an import, several at a time: `Sender` for the synchronous client, `AsyncSender` for the other.

What is sent, and what an answer means, stands in importing.py. The trap: a thread that waits for an answer cannot be
interrupted, and a stopped import must not wait for minutes. So streams are sent as futures, and when one fails all are
cancelled, which withdraws what the server has not read to the end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from typing import Any

import grpc

from vectorfleet.importing import ImportCall, Job, questions, storing
from vectorfleet.status import Ending
from vectorfleet.v1.vectorfleet_pb2 import ImportResponse


class Sender:
    """Of a synchronous client. method: the stub's `Import`."""

    def __init__(self, method: Any, job: Job) -> None:
        self._method = method
        self._job = job
        self._lock = threading.Lock()
        self._live: set[Any] = set()
        self._over = False
        self._sending: dict[futures.Future[ImportResponse], int] = {}

    def run(self) -> None:
        """Returns when everything is stored."""
        job = self._job
        with futures.ThreadPoolExecutor(max_workers=job.parallel) as pool:
            try:
                for part in job.skip_to(self._first_range()):
                    sent = pool.submit(self._send, storing(job.session, part))
                    self._sending[sent] = len(part.numbers)
                    self._settle(job.parallel - 1)
                self._settle(0)
            finally:
                self._cancel()

    def _first_range(self) -> int:
        begin = 0
        for number, question in questions(self._job.session, self._job.plan):
            if not self._send(question).repeated:
                break
            begin = number
        return begin

    def _settle(self, most: int) -> None:
        """Waits until at most so many parts are under way."""
        while len(self._sending) > most:
            for done in futures.wait(self._sending, return_when=futures.FIRST_COMPLETED).done:
                self._job.add(self._sending.pop(done), done.result().repeated)

    def _send(self, call: ImportCall) -> ImportResponse:
        attempts = self._job.attempts()
        while True:
            stream = call.attempt()
            try:
                reply = self._answer(stream.messages(), attempts.share())
            except grpc.RpcError as failure:
                time.sleep(call.judged(failure, attempts, stream))
            else:
                call.received(reply)
                return reply

    def _answer(self, messages: Iterator[Any], timeout: float) -> ImportResponse:
        with self._lock:
            if self._over:
                raise grpc.FutureCancelledError
            stream = self._method.future(messages, timeout=timeout)
            self._live.add(stream)
        try:
            answer: ImportResponse = stream.result()
        finally:
            with self._lock:
                self._live.discard(stream)
        return answer

    def _cancel(self) -> None:
        with self._lock:
            self._over = True
            live = list(self._live)
        for stream in live:
            stream.cancel()


class AsyncSender:
    """Of an asynchronous client. Reads the source, and packs rows, in threads."""

    def __init__(self, method: Any, job: Job) -> None:
        self._method = method
        self._job = job
        self._sending: dict[asyncio.Task[ImportResponse], int] = {}

    async def run(self) -> None:
        """Returns when everything is stored."""
        job = self._job
        try:
            parts = job.skip_to(await self._first_range())
            while part := await asyncio.to_thread(next, parts, None):
                sent = asyncio.create_task(self._send(storing(job.session, part)))
                self._sending[sent] = len(part.numbers)
                await self._settle(job.parallel - 1)
            await self._settle(0)
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def _first_range(self) -> int:
        begin = 0
        for number, question in questions(self._job.session, self._job.plan):
            if not (await self._send(question)).repeated:
                break
            begin = number
        return begin

    async def _settle(self, most: int) -> None:
        while len(self._sending) > most:
            for done in (await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED))[0]:
                self._job.add(self._sending.pop(done), done.result().repeated)

    async def _send(self, call: ImportCall) -> ImportResponse:
        attempts = self._job.attempts()
        while True:
            stream = call.attempt()
            answer = self._method(_in_thread(stream.messages()), timeout=attempts.share())
            ending = Ending(answer)
            try:
                reply: ImportResponse = await answer
            except grpc.aio.AioRpcError as failure:
                await asyncio.sleep(call.judged(await ending.of(failure), attempts, stream))
            else:
                call.received(reply)
                return reply


async def _in_thread(messages: Iterator[Any]) -> AsyncIterator[Any]:
    while (message := await asyncio.to_thread(next, messages, None)) is not None:
        yield message
