"""Calls through a front process' gate answer as calls without one: messages, errors, ends and streams."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from fronted import fronted, until
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from vectorfleet_node.front.frames import Kind
from vectorfleet_node.front.gate import Stream

PATIENCE = 30


async def test_a_call_takes_its_message_metadata_and_deadline_along() -> None:
    async with fronted() as pair:
        metadata = [("x-request-id", "über".encode().hex()), ("thing-bin", b"\x00\xfe")]
        assert await pair.one("hello", timeout=40, metadata=metadata) == "HELLO"
        assert await pair.one("no deadline") == "NO DEADLINE"
        (_, seconds, told), (_, never, _) = pair.service.seen
        assert 0 < seconds <= 40
        assert never is None
        assert (told["x-request-id"], told["thing-bin"]) == ("c3bc626572", b"\x00\xfe")


async def test_many_calls_at_a_time_get_each_its_own_answer() -> None:
    async with fronted() as pair:
        values = [f"{number}-{'x' * (number * 997 % 40_000)}" for number in range(80)]
        assert await asyncio.gather(*(pair.one(value) for value in values)) == [value.upper() for value in values]


async def test_a_message_of_many_megabytes_travels_whole_both_ways() -> None:
    async with fronted() as pair:
        value = "abcdefgh" * 1_000_000
        assert await pair.one(value) == value.upper()


async def test_an_error_keeps_its_details_for_programs() -> None:
    async with fronted() as pair:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pair.one("invalid")
        status = rpc_status.from_call(refused.value)
        violation = error_details_pb2.BadRequest()
        assert status is not None
        assert status.details[0].Unpack(violation)
        assert violation.field_violations[0].field == "k"
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details() == "k: is 0; hier fehlt etwas, überall"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pair.one("abort")
        assert dict(refused.value.trailing_metadata() or ())["why-bin"] == b"\x00\xff"


@pytest.mark.parametrize(
    ("value", "code"), [("bug", grpc.StatusCode.UNKNOWN), ("cancels itself", grpc.StatusCode.CANCELLED)]
)
async def test_a_handler_that_fails_still_answers(value: str, code: grpc.StatusCode) -> None:
    async with fronted() as pair:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await pair.one(value, timeout=PATIENCE)
        assert failed.value.code() == code


async def test_an_unknown_method_and_a_message_that_is_none_are_refused() -> None:
    async with fronted() as pair:
        for path, code in (("Other", grpc.StatusCode.UNIMPLEMENTED), ("One", grpc.StatusCode.INTERNAL)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await pair.channel.unary_unary(f"/test.Service/{path}")(b"\xff\xff", timeout=PATIENCE)
            assert refused.value.code() == code


async def test_a_cancelled_call_is_cancelled_in_the_service() -> None:
    async with fronted() as pair:
        call = asyncio.create_task(pair.one("wait"))
        await pair.service.running.wait()
        call.cancel()
        await asyncio.wait_for(pair.service.cancelled.wait(), PATIENCE)
        assert await pair.one("next") == "NEXT"


async def test_a_call_whose_deadline_passes_is_cancelled_in_the_service() -> None:
    async with fronted() as pair:
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await pair.one("wait", timeout=1.0)  # long enough to reach the service, on a slow machine too
        assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(pair.service.cancelled.wait(), PATIENCE)


async def test_calls_above_the_bound_are_refused_and_those_below_it_go_on() -> None:
    async with fronted(most_calls=3) as pair:
        waiting = [asyncio.create_task(pair.one("wait")) for _ in range(3)]
        await until(lambda: pair.dispatcher.running == 3, "three calls wait")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pair.one("one more")
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 calls" in (refused.value.details() or "")
        pair.service.go_on.set()
        assert await asyncio.gather(*waiting) == ["WAIT"] * 3
        assert await pair.one("one more") == "ONE MORE"


async def test_a_stream_of_requests_is_gathered_in_order() -> None:
    async with fronted() as pair:
        requests = [StringValue(value=str(number)) for number in range(100)]
        answer = await pair.call("stream_unary", "Gather")(iter(requests))
        assert answer.value == " ".join(map(str, range(100)))


async def test_a_service_that_takes_no_more_holds_its_caller_back() -> None:
    async with fronted() as pair:
        sent = 0

        async def requests() -> object:
            nonlocal sent
            for sent in range(1000):
                yield StringValue(value="wait" if sent == 0 else str(sent))

        call = pair.call("stream_unary", "Gather")(requests())
        await pair.service.running.wait()
        [stream] = pair.gate.end._calls.values()
        assert isinstance(stream, Stream)
        await until(stream.window.locked, "the window is used up")
        assert sent < 100, "the rest is not even asked of the caller"
        pair.service.go_on.set()
        assert len((await call).value.split()) == 1000
        assert sent == 999


async def test_an_answer_before_the_end_of_the_requests_ends_the_call() -> None:
    async with fronted() as pair:
        never = asyncio.Event()

        async def requests() -> object:
            yield StringValue(value="a")
            yield StringValue(value="enough")
            await never.wait()

        answer = await asyncio.wait_for(pair.call("stream_unary", "Gather")(requests()), PATIENCE)
        assert answer.value == "a enough"


async def test_a_stream_of_answers_comes_in_order_and_with_its_status() -> None:
    async with fronted() as pair:
        found = [answer.value async for answer in pair.call("unary_stream", "Count")(StringValue(value="200"))]
        assert found == [str(number) for number in range(200)]
        call = pair.call("unary_stream", "Count")(StringValue(value="13"))
        for number in range(13):
            assert (await call.read()).value == str(number)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "unlucky")


async def test_a_caller_that_reads_no_answers_holds_the_service_back_and_ends_it_by_going() -> None:
    async with fronted() as pair:
        pair.service.width = 1_000_000
        call = pair.call("unary_stream", "Count")(StringValue(value="1000000000"))
        assert len((await call.read()).value) == 1_000_000
        [answering] = pair.link.end._running.values()
        assert answering._window is not None
        await until(answering._window.locked, "the window is used up")  # gRPC's own buffers fill first
        assert pair.service.written < 100
        call.cancel()
        await asyncio.wait_for(pair.service.cancelled.wait(), PATIENCE)


async def test_a_conversation_goes_both_ways() -> None:
    async with fronted() as pair:
        call = pair.call("stream_stream", "Echo")()
        for number in range(30):
            await call.write(StringValue(value=str(number)))
            assert (await call.read()).value == str(number)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_when_the_front_process_ends_its_calls_are_cancelled() -> None:
    async with fronted() as pair:
        call = asyncio.create_task(pair.one("wait"))
        await pair.service.running.wait()
        pair.link.close()  # as an end of the process looks from here
        await asyncio.wait_for(pair.service.cancelled.wait(), PATIENCE)
        await asyncio.wait_for(pair.link.end.finished(), PATIENCE)
        call.cancel()


async def test_when_the_nodes_process_ends_the_front_process_leaves_at_once_and_after_a_stop_in_peace() -> None:
    async with fronted() as pair:
        pair.link.close()
        await until(lambda: pair.left, "it has left")
        assert pair.left == [1]
    async with fronted() as pair:
        pass
    assert pair.left == [0]


@pytest.mark.parametrize(("kind", "payload"), [(Kind.CALL, b"cut"), (Kind.REPLY, b""), (Kind.MESSAGE, b"no stream")])
async def test_what_makes_no_sense_ends_the_link(kind: Kind, payload: bytes) -> None:
    async with fronted() as pair:
        call = asyncio.create_task(pair.one("wait"))
        await pair.service.running.wait()
        number = next(iter(pair.link.end._running))
        pair.gate.send(kind, number, payload)
        await asyncio.wait_for(pair.link.end.finished(), PATIENCE)
        assert pair.service.cancelled.is_set()
        call.cancel()
