"""A volume that runs full: writes are refused, reads go on, nothing acknowledged is lost, and room heals it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.durability.campaign import Campaign, Process
from tests.durability.conftest import BUSY, tell
from tests.durability.truth import Truth
from tests.durability.volume import Ballast, CannotMount, small_volume
from tests.durability.worker import Plan
from tests.durability.zygote import Zygote
from vectorfleet.topology import StorageLocation

LANES = range(5)
ROUNDS = 4
SIZE = 48 << 20
RESERVE = 12 << 20
PADDING = 8000


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    try:
        with small_volume(tmp_path / "volume", SIZE) as folder:
            yield folder
    except CannotMount as error:
        pytest.skip(f"a full disk needs the right to mount a tmpfs: {error}")


@pytest.fixture
def campaign(zygote: Zygote, seed: int, tmp_path: Path, volume: Path, record_property: object) -> Iterator[Campaign]:
    folder = volume / "store"
    settings = replace(BUSY, reserve_bytes=RESERVE)
    plan = Plan(StorageLocation(url=folder.as_uri()), {}, tmp_path / "cache", seed, settings, PADDING)
    campaign = Campaign(zygote, Truth(folder, seed, PADDING), plan)
    yield campaign
    tell(campaign, record_property)


def begin(campaign: Campaign) -> Process:
    process = campaign.start()
    process.order("lead")
    campaign.expect(process, "leads")
    process.order("load", campaign.truth.turns(LANES))
    campaign.listen_for_acks(30)
    return process


def is_refused(campaign: Campaign, process: Process) -> None:
    for _ in LANES:
        assert "free on the volume" in campaign.expect(process, "full")[3]


def test_a_full_volume_refuses_writes_and_keeps_everything(campaign: Campaign, volume: Path, seed: int) -> None:
    chance = random.Random(seed)
    ballast = Ballast(volume)
    with campaign:
        for _ in range(ROUNDS):
            process = begin(campaign)
            ballast.fill(leave=RESERVE)
            is_refused(campaign, process)
            campaign.order_show(process)
            campaign.expect(process, "shown")
            process.order("flush")  # with the reserve, which is there for that
            campaign.expect(process, "flushed")
            ballast.fill(leave=0)
            campaign.order_show(process)
            campaign.expect(process, "shown")
            if chance.random() < 0.5:
                process.order("flush")
                campaign.listen(chance.random() * 0.1)
            campaign.kill(process)
            starts_full(campaign, ballast)
        process = begin(campaign)
        process.order("halt")
        campaign.expect(process, "halted")
        assert not campaign.truth.unknown
        campaign.order_show(process)
        campaign.expect(process, "shown")


def starts_full(campaign: Campaign, ballast: Ballast) -> None:
    """A node that starts on the full volume serves what is there, does not lead, and leads when there is room."""
    ballast.fill(leave=0)
    process = campaign.start()
    campaign.order_show(process)
    campaign.expect(process, "shown")
    ballast.fill(leave=0)  # what the dead one was writing is swept away
    process.order("lead")
    assert "no room" in campaign.expect(process, "cannot lead")[1]
    ballast.remove()
    process.order("lead")
    campaign.expect(process, "leads")
    process.order("load", campaign.truth.turns(LANES))
    campaign.listen_for_acks(10)
    campaign.kill(process)
