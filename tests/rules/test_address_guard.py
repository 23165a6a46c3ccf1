"""The address guard: which addresses a tenant may make us call."""

import asyncio
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.adapters.providers.address_guard import AddressGuard, PinningResolver, is_public
from chatwright.domain.errors import BadRequest


def vet(guard: AddressGuard, host: str, port: int = 443) -> list[str]:
    return [str(ip) for ip in asyncio.run(guard.vet(host, port))]


class Names:
    """A name server under the test's control; counts what it was asked."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        try:
            return self.answers[host.replace(".", "_")]
        except KeyError:
            raise OSError("no such host") from None


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1",
     "64:ff9b::808:808", "2002:808:808::1"],
)  # fmt: skip
def test_ordinary_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.255", "169.254.169.254",
     "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
     "255.255.255.255", "168.63.129.16", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "fe80::1",
     "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2001::1", "64:ff9b::7f00:1",
     "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "100::1", "2600::1%1"],
)  # fmt: skip
def test_special_addresses_are_not(text: str) -> None:
    assert not is_public(ip_address(text))


@given(number=st.integers(0, 2**32 - 1))
def test_what_python_calls_special_is_never_public_v4(number: int) -> None:
    ip = IPv4Address(number)
    if ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        assert not is_public(ip)
    if not ip.is_global:
        assert not is_public(ip)


@given(number=st.integers(0, 2**128 - 1) | st.integers(0, 2**32 - 1))
def test_what_python_calls_special_is_never_public_v6(number: int) -> None:
    ip = IPv6Address(number)
    if ip.is_private or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_site_local or ip.ipv4_mapped:
        assert not is_public(ip)
    if ip.teredo is not None:
        assert not is_public(ip)


@given(number=st.integers(0, 2**32 - 1))
def test_an_embedded_address_is_judged_as_itself(number: int) -> None:
    inner = IPv4Address(number)
    assert is_public(IPv6Address((0x64FF9B << 96) | number)) == is_public(inner)
    assert is_public(IPv6Address((0x2002 << 112) | (number << 80) | 1)) == is_public(inner)
    assert not is_public(IPv6Address((0xFFFF << 32) | number))


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://0x7f000001/", "http://0177.0.0.1/",
     "http://127.0.0.1./", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://localhost/", "http://LOCALHOST./",
     "http://a.localhost/", "http://metadata.google.internal/", "http://169.254.169.254/latest/meta-data",
     "http://user:pass@example.com/", "http://user@example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://x/",
     "example.com", "", "http://", "http:///x", "http://1.2.3.4.5/", "http://１２７.０.０.１/", "http://127。0。0。1/",
     "http://127%2e0%2e0%2e1/", "http://example.com:99999/", "http://[fe80::1%25eth0]/", "http://0/", "//example.com/"],
)  # fmt: skip
def test_urls_that_lead_inside_are_refused_without_dns(url: str) -> None:
    names = Names()
    with pytest.raises(BadRequest):
        AddressGuard(lookup=names).check_url(url)
    assert names.asked == 0


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com/v1", "http://8.8.8.8:8080/x?y=1", "https://[2606:4700::1111]/", "https://münchen.de/"],
)
def test_ordinary_urls_pass(url: str) -> None:
    AddressGuard().check_url(url)


def test_the_refusal_says_how_to_mend_it() -> None:
    with pytest.raises(BadRequest, match="CHATWRIGHT_ALLOWED_ADDRESSES"):
        AddressGuard().check_url("http://127.0.0.1:11434/v1")


def test_one_closed_address_among_many_refuses_the_host() -> None:
    names = Names(
        good_example=["93.184.216.34", "2606:2800::1"], bad_example=["93.184.216.34", "10.0.0.7"], none_example=[]
    )
    guard = AddressGuard(lookup=names)
    assert vet(guard, "good.example") == ["93.184.216.34", "2606:2800::1"]
    with pytest.raises(BadRequest, match=r"does not lead to the public internet") as refused:
        vet(guard, "bad.example")
    assert "10.0.0.7" not in refused.value.message  # a tenant must not map our network by asking for its names
    with pytest.raises(OSError):
        vet(guard, "none.example")
    with pytest.raises(OSError):
        vet(guard, "unknown.example")


def test_the_resolver_hands_on_exactly_the_vetted_addresses_of_one_look_up() -> None:
    names = Names(good_example=["93.184.216.34", "2606:2800::1"])
    found = asyncio.run(PinningResolver(AddressGuard(lookup=names)).resolve("good.example", 443))
    assert [entry["host"] for entry in found] == ["93.184.216.34", "2606:2800::1"]
    assert {entry["port"] for entry in found} == {443}
    assert names.asked == 1


@pytest.mark.parametrize(
    ("allowed", "url", "passes"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434/v1", True),
        ("127.0.0.1:11434", "http://127.0.0.1:11435/v1", False),
        ("127.0.0.1", "http://127.0.0.1:11435/v1", True),
        ("10.0.0.0/8", "http://10.9.8.7/", True),
        ("10.0.0.0/8", "http://11.9.8.7:80/", True),
        ("10.0.0.0/8", "http://192.168.0.1/", False),
        ("10.0.0.0/8:8000", "http://10.9.8.7:8000/", True),
        ("10.0.0.0/8:8000", "http://10.9.8.7:8001/", False),
        ("[::1]:8080", "http://[::1]:8080/", True),
        ("[::1]:8080", "http://[::1]:8081/", False),
        ("fd00::/8", "http://[fd12::1]/", True),
        ("LocalHost:1234", "http://localhost:1234/", True),
        ("localhost:1234", "http://localhost/", False),
        ("ollama.internal", "http://metadata/", False),
    ],
)
def test_the_operators_list_opens_what_it_names_and_no_more(allowed: str, url: str, *, passes: bool) -> None:
    guard = AddressGuard([allowed])
    if passes:
        guard.check_url(url)
    else:
        with pytest.raises(BadRequest):
            guard.check_url(url)


def test_a_listed_name_may_lead_inside_and_a_listed_network_serves_any_name() -> None:
    names = Names(ollama_internal=["10.0.0.5"], evil_example=["10.0.0.5"], mixed_example=["10.0.0.5", "127.0.0.1"])
    assert vet(AddressGuard(["ollama.internal:11434"], lookup=names), "ollama.internal", 11434) == ["10.0.0.5"]
    with pytest.raises(BadRequest):
        vet(AddressGuard(["ollama.internal:11434"], lookup=names), "ollama.internal", 22)
    with pytest.raises(BadRequest):
        vet(AddressGuard(["ollama.internal"], lookup=names), "evil.example")
    assert vet(AddressGuard(["10.0.0.0/24"], lookup=names), "evil.example") == ["10.0.0.5"]
    with pytest.raises(BadRequest):
        vet(AddressGuard(["10.0.0.0/24"], lookup=names), "mixed.example")


@pytest.mark.parametrize("entry", ["host:port", "1.2.3.4/99", "host:0", "host:70000", ":80", "a/b", "[::1"])
def test_an_entry_that_cannot_be_read_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError):
        AddressGuard([entry])
