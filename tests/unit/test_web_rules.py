"""Where Retouch may connect to: hostile URLs, hostile names, and the URLs that the API hands out."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.addresses import refused_address
from workers.web import FetchError, Web, api_target, check_url, key_allowed

HOSTILE = [
    # schemes
    "http://pictures.example/a.jpg",
    "ftp://pictures.example/a.jpg",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "data:image/png;base64,AAAA",
    "//pictures.example/a.jpg",
    "pictures.example/a.jpg",
    "/etc/passwd",
    "",
    " https://pictures.example/a.jpg",
    # ports
    "https://pictures.example:80/",
    "https://pictures.example:8443/",
    "https://pictures.example:6379/",
    "https://pictures.example:0/",
    "https://pictures.example:65536/",
    "https://pictures.example:-443/",
    "https://pictures.example:44 3/",
    # user names, and what looks like one
    "https://user@pictures.example/",
    "https://user:secret@pictures.example/",
    "https://@pictures.example/",
    "https://pictures.example@127.0.0.1/",
    "https://pictures.example\\@127.0.0.1/",
    "https://pictures.example%2f@127.0.0.1/",
    "https://pictures.example#@127.0.0.1:22/../",
    # addresses, plainly and in disguise
    "https://127.0.0.1/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://0.0.0.0/",
    "https://255.255.255.255/",
    "https://224.0.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.0.1./",
    "https://①②⑦.⓪.⓪.①/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::7f00:1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[fec0::1]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[2606:4700::1111%25eth0]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[ff02::1]/",
    "https://168.63.129.16/",
    # names that resolve to the inside (the resolver of these tests says 127.0.0.1 to every name)
    "https://localhost/",
    "https://localhost./",
    "https://127.0.0.1.nip.io/",
    "https://pictures.example/",
    "https://exampⓛe.com/",
    # no names at all
    "https:///a.jpg",
    "https://",
    "https:pictures.example/a.jpg",
    "https://exa mple.com/",
    "https://exa\tmple.com/",
    "https://exa\nmple.com/",
    "https://pictures.example\x00.evil/",
    "https://pictures..example/",
    "https://.pictures.example/",
    "https://xn--/",
    "https://\ud800.example/",
    "https://" + "a" * 64 + ".example/",
    "https://" + "a." * 130 + "example/",
]

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]

PRIVATE = [
    "127.0.0.1", "127.255.255.255", "10.1.2.3", "172.31.255.255", "192.168.0.1", "169.254.169.254", "100.64.0.1",
    "100.100.100.200", "0.0.0.0", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16", "::", "::1",
    "::7f00:1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1",
    "2001:db8::1", "2001:0:7f00:1::", "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "not an address", "",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE, ids=ascii)
def test_a_hostile_url_is_refused_before_anything_is_connected_to(url: str) -> None:
    web = Web(resolver=lambda _host, _port: ["127.0.0.1"])

    with pytest.raises(FetchError) as caught:
        web.fetch(url)

    assert caught.value.code == "url_refused"
    assert not caught.value.transient


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_the_inside_is_refused_with_a_reason(address: str) -> None:
    assert refused_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not_refused(address: str) -> None:
    assert refused_address(address) is None


@given(st.ip_addresses(v=4))
def test_an_ipv6_address_that_carries_a_refused_ipv4_address_is_refused(inner: IPv4Address) -> None:
    low = int(inner)
    carriers = [
        IPv6Address(0xFFFF << 32 | low),
        IPv6Address(0x64FF9B << 96 | low),
        IPv6Address(0x2002 << 112 | low << 80),
        IPv6Address(low),
    ]

    refused = [refused_address(carrier) is not None for carrier in carriers]

    assert all(refused) or refused_address(inner) is None


@given(st.ip_addresses())
def test_what_is_let_through_is_global_and_no_group(address: IPv4Address | IPv6Address) -> None:
    if refused_address(address) is None:
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "a.1", "a.0x"])
def test_a_number_is_no_name_even_before_anything_is_resolved(host: str) -> None:
    with pytest.raises(FetchError, match="cannot be read"):
        check_url(f"https://{host}/", [host])


def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    web = Web(resolver=lambda _host, _port: ["93.184.216.34", "10.0.0.7"])

    with pytest.raises(FetchError, match="private") as caught:
        web.fetch("https://pictures.example/a.jpg")

    assert caught.value.code == "url_refused"


def test_a_plain_https_url_is_taken_apart_into_what_is_fetched() -> None:
    target = check_url("HTTPS://Pictures.Example:443/Ä b.jpg?sig=S#part")

    assert (target.scheme, target.host, target.port, target.trusted) == ("https", "pictures.example", 443, False)
    assert target.path == b"/%C3%84%20b.jpg?sig=S"
    assert target.authority == "pictures.example"


def test_an_international_name_is_fetched_by_its_ascii_form() -> None:
    assert check_url("https://bücher.example/").host == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("http://cam.local/a.jpg", "cam.local"),
        ("http://cam.local:8080/a.jpg", "cam.local"),
        ("http://cam.local:8080/a.jpg", "cam.local:8080"),
        ("https://CAM.local:8443/a.jpg", " Cam.Local:8443 "),
        ("http://127.0.0.1:9000/a.jpg", "127.0.0.1:9000"),
        ("http://[::1]:9000/a.jpg", "[::1]:9000"),
        ("http://[::1]:9000/a.jpg", "::1"),
    ],
)
def test_a_trusted_host_may_use_http_any_port_and_a_private_address(url: str, trusted: str) -> None:
    assert check_url(url, [trusted]).trusted


@pytest.mark.parametrize("trusted", ["cam.local:8080", "am.local", "local", "cam.local.evil", "", "http://cam.local"])
def test_trust_is_in_the_very_host_and_port_that_are_listed(trusted: str) -> None:
    with pytest.raises(FetchError):
        check_url("http://cam.local:9090/a.jpg", [trusted])


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.example/a.jpg?sig=CANARY",
        "https://pictures.example:99/a.jpg?sig=CANARY",
        "https://127.0.0.1/?CANARY",
        "https://user:CANARY@pictures.example/",
        "https://user:CAN?ARY@CANARY/",
        "https://exa mple/?CANARY",
        "https://localhost/?CANARY#CANARY",
        "gopher://x/?CANARY",
    ],
)
def test_a_refusal_shows_neither_the_query_nor_a_password(url: str) -> None:
    web = Web(resolver=lambda _host, _port: ["127.0.0.1"])

    with pytest.raises(FetchError) as caught:
        web.fetch(url)

    assert "CAN" not in str(caught.value)
    assert "ARY" not in repr(caught.value)


def test_a_target_does_not_show_its_query() -> None:
    target = check_url("https://pictures.example/a.jpg?sig=CANARY")

    assert "CANARY" not in repr(target)
    assert target.shown == "https://pictures.example/a.jpg"


BASE = "https://api.bfl.ai"
EVIL = [
    "https://api.bfl.ai.evil/v1/get_result?id=1",
    "https://api.bfl.ai@evil/v1/get_result",
    "https://evil/api.bfl.ai",
    "https://evil#.bfl.ai",
    "https://evil?.bfl.ai",
    "https://evil\\.bfl.ai/",
    "https://evilbfl.ai/",
    "https://bfl.ai.evil/",
    "https://bfl.ai/",
    "http://api.bfl.ai/v1/get_result",
    "https://api.bfl.ai:8443/",
    "https://api.bfl.ai:80/",
    "//evil/v1/get_result",
    "//api.bfl.ai/v1/get_result",
    "/v1/get_result",
    "https://user@api.bfl.ai/",
    "https://@api.bfl.ai/",
    "https://api.bfl.ai./",
    "https://api.bfl.ai%00.evil/",
    "https://api.bfl.ai\t.evil/",
    "ftp://api.bfl.ai/",
    "https://127.0.0.1/",
    "https://xbfldeliveryprod.blob.core.windows.net/",
    "https://bfldeliveryprod.blob.core.windows.net.evil/",
    "https://bfldelivery.prod.blob.core.windows.net/",
    "http://bfldeliveryprodeu4.blob.core.windows.net/",
    "https://other.blob.core.windows.net/",
    "",
    "https://",
]


@pytest.mark.parametrize("url", EVIL)
def test_a_url_that_only_looks_like_the_apis_is_neither_followed_nor_given_the_key(url: str) -> None:
    assert not api_target(url, base_url=BASE, trusted_hosts=())
    assert not api_target(url, base_url=BASE, trusted_hosts=(), use="delivery")
    assert not key_allowed(url, base_url=BASE, trusted_hosts=())


@pytest.mark.parametrize("host", ["api.bfl.ai", "api.eu2.bfl.ai", "api.us.bfl.ai", "api-eu.bfl.ai", "gateway.bfl.ai"])
def test_the_apis_own_hosts_are_polled_with_the_key(host: str) -> None:
    url = f"https://{host}/v1/get_result?id=1"

    assert api_target(url, base_url=BASE, trusted_hosts=())
    assert key_allowed(url, base_url=BASE, trusted_hosts=())


@pytest.mark.parametrize(
    "host", ["delivery-eu1.bfl.ai", "delivery.eu2.bfl.ai", "bfldeliveryprodeu4.blob.core.windows.net"]
)
def test_a_delivery_host_is_downloaded_from_and_never_gets_the_key(host: str) -> None:
    url = f"https://{host}/results/a.jpeg?se=1&sig=S"

    assert api_target(url, base_url=BASE, trusted_hosts=(), use="delivery")
    assert not key_allowed(url, base_url=BASE, trusted_hosts=())
    assert not key_allowed(url, base_url=BASE, trusted_hosts=[host])


def test_a_storage_account_is_not_polled() -> None:
    assert not api_target("https://bfldeliveryprodeu4.blob.core.windows.net/", base_url=BASE, trusted_hosts=())


def test_the_origin_of_base_url_is_followed_over_http_at_its_very_port() -> None:
    base = "http://127.0.0.1:8900"

    assert api_target("http://127.0.0.1:8900/v1/get_result?id=1", base_url=base, trusted_hosts=())
    assert key_allowed("http://127.0.0.1:8900/v1/get_result?id=1", base_url=base, trusted_hosts=())
    assert not api_target("http://127.0.0.1:8901/", base_url=base, trusted_hosts=())
    assert not key_allowed("https://127.0.0.1:8900/", base_url=base, trusted_hosts=())


def test_a_trusted_host_is_followed_over_http_and_given_the_key() -> None:
    trusted = ["proxy.lan:8080"]

    assert api_target("http://proxy.lan:8080/x", base_url=BASE, trusted_hosts=trusted)
    assert key_allowed("http://proxy.lan:8080/x", base_url=BASE, trusted_hosts=trusted)
    assert not api_target("http://proxy.lan:8081/x", base_url=BASE, trusted_hosts=trusted)


@given(st.text(), st.sampled_from(["", "https://", "https://[", "http://api.bfl.ai"]))
def test_no_text_makes_the_rules_raise_anything_but_a_refusal(text: str, start: str) -> None:
    url = start + text

    with contextlib.suppress(FetchError):
        assert check_url(url).scheme == "https"
    assert not key_allowed(url, base_url=BASE, trusted_hosts=())
    assert not api_target(url, base_url=BASE, trusted_hosts=(), use="delivery")
