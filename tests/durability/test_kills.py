"""kill -9 at random points under load, a folder and a real S3 server: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import random

from tests.durability.campaign import Campaign, Process
from vectorfleet_node.maintenance.check import check_collection
from vectorfleet_node.storage.open import open_store

LANES = range(5)
ACKS_BETWEEN_KILLS = 30  # on average
GARBAGE_DEADLINE = 60.0  # seconds


def begin(campaign: Campaign) -> Process:
    """A worker that leads, shows what it found, settles what is unknown, and goes on; everything is ordered at once."""
    process = campaign.start()
    process.order("lead")
    campaign.order_show(process)
    process.order("load", campaign.truth.turns(LANES))
    return process


def kill_often(campaign: Campaign, kills: int, chance: random.Random) -> None:
    for _ in range(kills):
        process = begin(campaign)
        if chance.random() < 0.15:  # while it starts, recovers or takes over
            campaign.listen(chance.random() * 0.25)
        else:
            campaign.expect(process, "shown")
            campaign.listen_for_acks(1 + int(chance.expovariate(1 / ACKS_BETWEEN_KILLS)))
            if chance.random() < 0.4:  # while it writes segments, publishes, merges and collects
                process.order("flush")
                campaign.expect(process, "flushing")
                campaign.listen(chance.random() * 0.03)
        campaign.kill(process)


def finish(campaign: Campaign) -> None:
    """Every fate is settled, and a reader that has nothing but the store sees exactly the acknowledged."""
    process = begin(campaign)
    campaign.expect(process, "shown")
    process.order("halt")
    campaign.expect(process, "halted")
    assert not campaign.truth.unknown
    for _ in range(campaign.plan.settings.keep_manifests + 1):
        process.order("load", campaign.truth.turns(LANES))
        campaign.listen_for_acks(1)
        for command, answer in (("halt", "halted"), ("flush", "flushed")):
            process.order(command)
            campaign.expect(process, answer)
    campaign.order_show(process)
    campaign.expect(process, "shown")
    # What the killed ones left is collected once the manifests that count are younger.
    campaign.listen(GARBAGE_DEADLINE, lambda: not campaign.truth.garbage())
    assert campaign.truth.garbage() == []
    fresh = campaign.start(campaign.plan.cache.with_name("fresh"))
    campaign.order_show(fresh)
    campaign.expect(fresh, "shown")
    plan = campaign.plan
    report = asyncio.run(check_collection(open_store(plan.location, plan.credentials), plan.location.url))
    assert report.clean, report


def test_a_folder_survives_kills(folder_campaign: Campaign, seed: int) -> None:
    with folder_campaign as campaign:
        kill_often(campaign, 120, random.Random(seed))
        finish(campaign)
        check_it_was_something(campaign)


def test_a_bucket_survives_kills(bucket_campaign: Campaign, seed: int) -> None:
    with bucket_campaign as campaign:
        kill_often(campaign, 90, random.Random(seed))
        finish(campaign)
        check_it_was_something(campaign)


def check_it_was_something(campaign: Campaign) -> None:
    """Kills that hit nothing prove nothing."""
    counts = campaign.truth.tally()
    assert counts["acked"] > 1000
    assert counts["ambiguous"] > 50
    assert counts["manifests published"] > 50
    assert counts["records collected"] > 100
