"""Two real writers on one store: the one that was stopped while another took over acknowledges nothing afterwards."""

from __future__ import annotations

import signal

import pytest

from tests.durability.campaign import Campaign, Process
from vectorfleet_node.storage.record import Fence

ROUNDS = 5
FIRST, SECOND = range(4), range(4, 8)


@pytest.fixture(params=["folder", "bucket"])
def campaign(request: pytest.FixtureRequest) -> Campaign:
    found: Campaign = request.getfixturevalue(f"{request.param}_campaign")
    return found


def lead(campaign: Campaign, process: Process, lanes: range) -> int:
    """Takes over and writes; the position of its fence."""
    process.order("lead")
    position = int(campaign.expect(process, "leads")[1])
    fence = campaign.truth.ledger.records[position - 1].body
    assert isinstance(fence, Fence)
    assert fence.address == f"worker:{process.pid}"
    process.order("load", campaign.truth.turns(lanes))
    return position


def test_a_writer_that_wakes_up_after_another_took_over_acknowledges_nothing(campaign: Campaign) -> None:
    with campaign:
        first = campaign.start(campaign.plan.cache / "first")
        second = campaign.start(campaign.plan.cache / "second")
        writers = [(first, FIRST), (second, SECOND)]
        lead(campaign, *writers[0])
        for _ in range(ROUNDS):
            (stopped, its_lanes), (other, other_lanes) = writers
            campaign.listen_for_acks(40)
            stopped.signal(signal.SIGSTOP)
            campaign.truth.counts["stops"] += 1
            fence = lead(campaign, other, other_lanes)
            campaign.listen_for_acks(40)
            stopped.signal(signal.SIGCONT)
            campaign.order_show(stopped)  # a strong read, of which it may first learn that it was deposed
            campaign.expect(stopped, "shown")
            stopped.order("halt")
            assert campaign.expect(stopped, "halted")[1] is False, "it believes that it still leads"
            late = [position for lane, position in campaign.truth.acks if lane in its_lanes and position > fence]
            assert not late, f"acknowledged at {late}, after the fence at {fence}"
            writers.reverse()
        (leader, _), (follower, its_lanes) = writers
        leader.order("halt")
        campaign.expect(leader, "halted")
        # What the first ones never learned the fate of is settled by whoever leads last.
        leader.order("load", [turn for lane in its_lanes if (turn := campaign.truth.unknown.get(lane))])
        leader.order("halt")
        campaign.expect(leader, "halted")
        assert not campaign.truth.unknown
        for process in (leader, follower):
            campaign.order_show(process)
            campaign.expect(process, "shown")
