"""An S3 server that is killed and paused in the middle of puts: what was acknowledged stays, and writers go on."""

from __future__ import annotations

import random

from tests.durability.campaign import Campaign, Process
from tests.durability.gateway import Gateway

LANES = range(8)
KILLS = 12
PAUSES = 2
LONGER_THAN_UNDECIDED = 2.5  # seconds; see conftest.BUSY


def test_a_server_that_dies_and_hangs_in_the_middle_of_puts_loses_and_doubles_nothing(
    bucket_campaign: Campaign, gateway: Gateway, seed: int
) -> None:
    chance = random.Random(seed)
    counts = bucket_campaign.truth.counts
    with bucket_campaign as campaign:
        process = campaign.start()
        process.order("lead")
        campaign.expect(process, "leads")
        process.order("load", campaign.truth.turns(LANES))
        outages = [""] * KILLS + [f"pause {number}" for number in range(PAUSES)]
        chance.shuffle(outages)
        for outage in outages:
            campaign.listen_for_acks(chance.randint(5, 60))
            campaign.listen(chance.random() * 0.02)
            if outage:
                counts["server paused"] += 1
                gateway.pause()
                newcomer_is_refused(campaign, process, len(LANES) + int(outage[-1]))
                gateway.resume()
            else:
                counts["server killed"] += 1
                gateway.kill()
                campaign.listen(chance.random() * 0.2)
                gateway.start()
        campaign.listen_for_acks(50)
        process.order("halt")
        campaign.expect(process, "halted")
        assert not campaign.truth.unknown
        campaign.order_show(process)
        campaign.expect(process, "shown")
        fresh = campaign.start(campaign.plan.cache.with_name("fresh"))
        campaign.order_show(fresh)
        campaign.expect(fresh, "shown")


def newcomer_is_refused(campaign: Campaign, process: Process, lane: int) -> None:
    """A write that comes when a put has been undecided for long is told so; those under way wait for their fate."""
    counts = campaign.truth.counts
    refused = counts["not now"]
    campaign.listen(LONGER_THAN_UNDECIDED)
    process.order("load", campaign.truth.turns([lane]))
    campaign.listen(10, lambda: counts["not now"] > refused)
    assert counts["not now"] > refused, "a put has been undecided for long, and writes are still taken"
