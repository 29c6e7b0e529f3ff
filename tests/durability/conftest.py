"""The store servers, worlds and the summary of the durability tests."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.campaign import Campaign
from tests.durability.gateway import Gateway
from tests.durability.truth import Truth
from tests.durability.worker import Plan
from tests.durability.zygote import Zygote
from vectorfleet.topology import StorageLocation
from vectorfleet_node.shard.settings import ShardSettings

# Everything happens often: flushes, manifests, merges, collection.
BUSY = ShardSettings(
    commit_window=0.001,
    seal_rows=100,
    seal_idle=0.1,
    publish_records=40,
    keep_manifests=6,
    collect_pause=0.001,
    undecided_limit=2.0,
    reserve_bytes=1 << 20,
)
BUCKET = "durability"


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    started = Zygote()
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def seed() -> int:
    """VECTORFLEET_SEED repeats what is random in the tests, as far as processes can be repeated."""
    chosen = int(os.environ.get("VECTORFLEET_SEED", secrets.randbelow(10**9)))
    print(f"VECTORFLEET_SEED={chosen}")
    return chosen


@pytest.fixture
def folder_campaign(zygote: Zygote, seed: int, tmp_path: Path, record_property: pytest.Config) -> Iterator[Campaign]:
    folder = tmp_path / "store"
    plan = Plan(StorageLocation(url=folder.as_uri()), {}, tmp_path / "cache", seed, BUSY)
    campaign = Campaign(zygote, Truth(folder, seed), plan)
    yield campaign
    tell(campaign, record_property)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "s3") as started:
        yield started


@pytest.fixture
def bucket_campaign(
    zygote: Zygote, seed: int, tmp_path: Path, gateway: Gateway, record_property: pytest.Config
) -> Iterator[Campaign]:
    folder = gateway.make_bucket(BUCKET) / "words"
    location = StorageLocation(url=f"s3://{BUCKET}/words", endpoint=gateway.endpoint)
    plan = Plan(location, gateway.credentials, tmp_path / "cache", seed, BUSY)
    campaign = Campaign(zygote, Truth(folder, seed), plan)
    yield campaign
    tell(campaign, record_property)


def tell(campaign: Campaign, record_property: object) -> None:
    """For the summary; by way of the reports, because tests run in several processes."""
    for name, count in sorted(campaign.truth.tally().items()):
        record_property(f"durability {name}", count)  # type: ignore[operator]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    total: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                for name, count in report.user_properties:
                    total[name.removeprefix("durability ")] += count
    if total:
        terminalreporter.section("durability")
        kills, acked, unknown = total.pop("kills", 0), total.pop("acked", 0), total.pop("ambiguous", 0)
        terminalreporter.write_line(f"{kills} kills, {acked} acknowledged writes, {unknown} of unknown fate at a kill")
        terminalreporter.write_line(", ".join(f"{count} {name}" for name, count in sorted(total.items())))
