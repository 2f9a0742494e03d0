"""Slows down whoever asks for the pages without sign-in too often: a bucket for each asker, in this process."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict


class Buckets:
    """Each key may do `burst` things at once, and one more every `every_s` seconds; keys_max are remembered."""

    def __init__(self, burst: int, every_s: float, keys_max: int = 10_000) -> None:
        self._burst, self._every_s, self._keys_max = burst, every_s, keys_max
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, key: str, now: float) -> int:
        """Counts one more thing; 0 when it is allowed, else in how many seconds the next one will be."""
        # The time at which the bucket would be full again says all that there is to know about it.
        full_at = max(self._full_at.pop(key, now), now) + self._every_s
        over = full_at - now - self._burst * self._every_s
        if over > 0:
            self._full_at[key] = full_at - self._every_s  # what was refused does not count
            return math.ceil(over)
        self._full_at[key] = full_at
        if len(self._full_at) > self._keys_max:
            self._full_at.popitem(last=False)
        return 0


def network_of(client: str) -> str:
    """Whom to count together: an IPv4 address, or the /64 that one household has of IPv6."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return client
