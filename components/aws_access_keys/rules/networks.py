"""Networks from which keys work, and the policy that denies calls from all others.

Sources: "AWS: Denies access to AWS based on the source IP",
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_aws_deny-ip.html; aws:SourceIp and
aws:ViaAWSService, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from itertools import product
from typing import Any

from aws_access_keys.rules.documents import VERSION
from aws_access_keys.rules.problem import Problem

ALLOW_FROM = "allow-from"
"""Name of the inline policy."""

Network = IPv4Network | IPv6Network

# AWS sees the public address of a caller, so these match nobody. Loopback is what the sandbox sees.
_NEVER_SEEN = [
    *map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")),
    *map(ip_network, ("fc00::/7", "fe80::/10")),
]


def allow_from_document(networks: Sequence[str]) -> dict[str, Any]:
    """The policy document that denies every call from elsewhere, except those of AWS services for the caller.

    A call through a VPC endpoint has no aws:SourceIp, and is denied.
    """
    known = [str(ip_network(network)) for network in sorted(networks)]
    condition = {"NotIpAddress": {"aws:SourceIp": known}, "BoolIfExists": {"aws:ViaAWSService": "false"}}
    statement = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
    return {"Version": VERSION, "Statement": [statement]}


def network_problems(where: str, networks: Sequence[str]) -> Iterator[Problem]:
    """Problems of a list of networks. where: the setting that has them."""
    if not networks:
        yield Problem(
            where, "no networks, so no key would work. List at least one, or remove this setting to allow all networks."
        )
    known: list[Network] = []
    for index, given in enumerate(networks):
        place = f"{where}[{index}]"
        network = _network(given)
        if network is None:
            yield Problem(place, f"'{given}' is not a network. Write CIDR notation such as 203.0.113.0/24.")
        elif str(network) != given and f"{network}".split("/", 1)[0] != given:
            address = given.partition("/")[0]
            cure = f"Write '{network}', or '{address}/{network.max_prefixlen}' for this address."
            yield Problem(place, f"'{given}' has bits set beyond its prefix length. {cure}")
        elif any(overlaps(network, never) and network.prefixlen >= never.prefixlen for never in _NEVER_SEEN):
            text = f"AWS never sees '{given}': it sees the public address from which the call leaves your network"
            yield Problem(place, f"{text}. Write that one.")
        else:
            within = next((other for other in known if overlaps(network, other)), None)
            if within:
                yield Problem(place, f"'{given}' overlaps with '{within}'. Remove one of the two.")
            known.append(network)
    together = [
        *collapse_addresses(network for network in known if isinstance(network, IPv4Network)),
        *collapse_addresses(network for network in known if isinstance(network, IPv6Network)),
    ]
    if any(network.prefixlen == 0 for network in together):
        text = "these networks cover all addresses, so they limit nothing"
        yield Problem(where, f"{text}. List only those from which keys should work, or remove this setting.")


def have_common_network(lists: Sequence[Sequence[str]]) -> bool:
    """Whether some address is in one network of each list. All networks are valid."""
    return bool(common_networks(lists)) or not lists


def common_networks(lists: Sequence[Sequence[str]]) -> list[Network]:
    """The networks that lie in one network of each list; none without lists. Raises ValueError for an invalid one."""
    common: list[Network] = [ip_network(network) for network in lists[0]] if lists else []
    for networks in lists[1:]:
        pairs = product(common, map(ip_network, networks))
        common = [max(pair, key=lambda network: network.prefixlen) for pair in pairs if overlaps(*pair)]
    return common


def same_for_all(networks: Sequence[Network], values: Sequence[str]) -> bool:
    """Whether either all addresses of the networks are in one of the values, or none is."""
    try:
        listed = [ip_network(value, strict=False) for value in values]
    except ValueError:
        return False
    together = [
        *collapse_addresses(network for network in listed if isinstance(network, IPv4Network)),
        *collapse_addresses(network for network in listed if isinstance(network, IPv6Network)),
    ]
    within: set[bool] = set()
    for network in networks:
        overlapping = [value for value in together if overlaps(network, value)]
        if any(value.prefixlen > network.prefixlen for value in overlapping):
            return False
        within.add(bool(overlapping))
    return len(within) == 1


def address_in(network: Network) -> str:
    """An address of a host in a network."""
    return str(network[1] if network.num_addresses > 2 else network[0])


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def overlaps(one: Network, other: Network) -> bool:
    """Whether two networks have an address in common. If so, the one with the longer prefix is within the other."""
    return one.version == other.version and one.overlaps(other)  # pyright: ignore[reportArgumentType]
