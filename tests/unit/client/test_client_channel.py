"""Addresses as users write them, and targets as gRPC wants them."""

from __future__ import annotations

import pytest

from vectorfleet import InvalidArgument
from vectorfleet.channel import target


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost", "dns:///localhost:7300"),
        ("localhost:80", "dns:///localhost:80"),
        ("things.search.svc:7300", "dns:///things.search.svc:7300"),
        ("10.0.0.1", "dns:///10.0.0.1:7300"),
        ("::1", "dns:///[::1]:7300"),
        ("[::1]:80", "dns:///[::1]:80"),
        ("dns:///things:7300", "dns:///things:7300"),
        ("unix:///tmp/socket", "unix:///tmp/socket"),
        ("10.0.0.1:7300, 10.0.0.2", "ipv4:10.0.0.1:7300,10.0.0.2:7300"),
        (["10.0.0.1", "10.0.0.2:80"], "ipv4:10.0.0.1:7300,10.0.0.2:80"),
        (["::1", "[::2]:80"], "ipv6:[::1]:7300,[::2]:80"),
    ],
)
def test_an_address_becomes_a_target(address: str | list[str], expected: str) -> None:
    assert target(address) == expected


@pytest.mark.parametrize("address", ["", [], ["a:1", "b:2"], ["10.0.0.1", "::1"]])
def test_an_address_that_cannot_be_one_is_refused(address: str | list[str]) -> None:
    with pytest.raises(InvalidArgument, match="address"):
        target(address)
