"""Which URLs of a partner may be called, and which addresses."""

import pytest
from hostile import HOSTILE

from ingest.addresses import Unreachable, checked_url, is_public


def test_there_are_eighty_hostile_urls() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 80


@pytest.mark.parametrize("url", HOSTILE, ids=repr)
def test_a_hostile_url_is_refused_before_any_name_is_looked_up(url: str) -> None:
    with pytest.raises(Unreachable) as refused:
        checked_url(url, allow_private=False)
    assert refused.value.kind == "forbidden"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("https://ocpi.example.com/ocpi/versions", "https://ocpi.example.com/ocpi/versions"),
        ("HTTPS://OCPI.Example.COM:8443/Ocpi?Offset=1&x=%2F", "https://ocpi.example.com:8443/Ocpi?Offset=1&x=%2F"),
        ("https://ocpi.example.com.", "https://ocpi.example.com/"),
        ("https://xn--ladesule-c1a.example/v", "https://xn--ladesule-c1a.example/v"),
        ("https://93.184.215.14/v", "https://93.184.215.14/v"),
        ("https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:444/v", "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:444/v"),
        ("https://a.example/x@y:z//%0d%0a", "https://a.example/x@y:z//%0d%0a"),
        ("https://a.example?cursor=abc", "https://a.example?cursor=abc"),
    ],
)
def test_a_url_is_called_as_it_was_given(url: str, called: str) -> None:
    with_path = called.replace("example?", "example?")
    assert checked_url(url, allow_private=False) == with_path


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/ocpi", "http://localhost/", "https://10.1.2.3/", "http://[::1]:8/x"])
def test_a_test_bench_may_be_private(url: str) -> None:
    assert checked_url(url, allow_private=True) == url


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://a.example/",
        "https://u:secret@a.example/",
        "https://a.example/\r\nX: y",
        "",
        "https://0x7f.1/",
    ],
)
def test_a_test_bench_takes_no_nonsense_either(url: str) -> None:
    with pytest.raises(Unreachable):
        checked_url(url, allow_private=True)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16"),
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
        *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1"),
        *("2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "ff02::1"),
        *("4000::1", "localhost", ""),
    ],
)
def test_an_address_that_is_not_of_the_public_internet_is_none(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "100.63.255.255", "172.32.0.1", "193.0.0.1", "2001:4860:4860::8888", "2a00:1450::1"]
)
def test_any_other_address_is(address: str) -> None:
    assert is_public(address)
