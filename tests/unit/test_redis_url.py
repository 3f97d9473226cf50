"""What a `redis_url` says, and that none that can't be read shows itself in the error."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.storage.redis.url import connect, parse_redis_url, redis_server_name


def test_a_server() -> None:
    address = parse_redis_url("redis://ann:s%40fe@cache:6380/4")
    assert (address.hosts, address.database, address.tls) == ((("cache", 6380),), 4, False)
    assert address.login == {"username": "ann", "password": "s@fe"}
    assert address.name == "cache:6380"
    assert parse_redis_url("redis://").hosts == (("localhost", 6379),)
    assert parse_redis_url("redis://[::1]:7/?db=2").database == 2
    assert redis_server_name("rediss://:hidden@[::1]/0") == "[::1]:6379"


def test_a_socket() -> None:
    address = parse_redis_url("unix://:pw@/run/redis.sock?db=3")
    assert (address.path, address.database, address.login) == ("/run/redis.sock", 3, {"password": "pw"})


def test_sentinels() -> None:
    address = parse_redis_url(
        "redis+sentinel://ann:pw@s1,s2:26380,[::1]:5/my%2Fmaster/7?sentinel_username=asker&sentinel_password=a%26b"
    )
    assert address.hosts == (("s1", 26379), ("s2", 26380), ("::1", 5))
    assert (address.master, address.database, address.tls) == ("my/master", 7, False)
    assert address.login == {"username": "ann", "password": "pw"}
    assert address.sentinel_login == {"username": "asker", "password": "a&b"}
    assert address.name == "'my/master' by Sentinels s1:26379,s2:26380,[::1]:5"
    assert "pw" not in repr(address)
    secure = parse_redis_url("rediss+sentinel://s1/m?ssl_ca_certs=/ca.pem&ssl_check_hostname=no&ssl_cert_reqs=required")
    assert secure.tls
    assert secure.tls_options == {
        "ssl_ca_certs": "/ca.pem",
        "ssl_check_hostname": False,
        "ssl_cert_reqs": "required",
    }


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("hidden", "scheme"),
        ("http://:hidden@h/0", "scheme"),
        ("sentinel://:hidden@h/0", "scheme"),
        ("redis+sentinel://:hidden@h1,h2", "name that the Sentinels know"),
        ("redis+sentinel://:hidden@h1,h2/", "name that the Sentinels know"),
        ("redis+sentinel://:hidden@h1,,h2/m", "host:port"),
        ("redis+sentinel://:hidden@h1:0/m", "host:port"),
        ("redis+sentinel://:hidden@h1:70000/m", "host:port"),
        ("redis+sentinel://:hidden@::1/m", "host:port"),
        ("redis+sentinel://:hidden@h1/m/hidden", "number"),
        ("redis+sentinel://:hidden@h1/m/1/2", "number"),
        ("redis+sentinel://:hid/den@h1/m/1", "%2F"),
        ("redis://:hidden#1@h/0", "%23"),
        ("redis://:hidden@h1,h2/0", "several hosts"),
        ("redis://:hidden@h/zero", "number"),
        ("redis://:hidden@h/-1", "number"),
        ("redis://:hidden@h:port/0", "host:port"),
        ("redis://:hid?den@h/0", "options that there are|name=value"),
        ("redis://:hidden@h/0?socket_timeout=60", "options that there are"),
        ("redis://:hidden@h/0?db=1&db=2", "options that there are"),
        ("redis://:hidden@h/0?sentinel_password=hidden", "need redis\\+sentinel"),
        ("redis://:hidden@h/0?ssl_cert_reqs=none", "need rediss"),
        ("rediss://:hidden@h/0?ssl_cert_reqs=maybe", "required, optional or none"),
        ("rediss://:hidden@h/0?ssl_check_hostname=maybe", "true or false"),
        ("unix://:hidden@host/run/redis.sock", "socket"),
    ],
)
def test_what_can_not_be_read_is_not_shown(url: str, says: str) -> None:
    with pytest.raises(InvalidSettingsError, match=says) as caught:
        parse_redis_url(url)
    assert "hid" not in str(caught.value)
    assert "redis+sentinel://user" in str(caught.value), "what to write instead"
    assert caught.value.__cause__ is None


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingsError, match=r"ssl_ca_certs is .*missing\.pem"):
        connect(f"rediss://:hidden@h/0?ssl_ca_certs={tmp_path}/missing.pem", timeout_seconds=1)
