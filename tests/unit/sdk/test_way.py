"""The way to a server: proxies and certificates that the environment names."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.command import unroll
from tests.unit.sdk.scripted_server import CERTIFICATE, Answer, ScriptedServer, serve
from unroll import APIConnectionError, APIError, Client
from unroll._way import proxy_for

LAB = "http://lab.example.org"
OWN = socket.gethostname().lower()
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "request_method")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def jobs(_: object) -> Answer:
    return Answer(body=examples.job())


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_another_machine_is_asked_through_the_proxy(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    server.script = jobs
    monkeypatch.setenv(variable, server.url.replace("http://", scheme))
    with Client(LAB, "secret") as client:
        assert client.jobs.get("job_1").id == "job_1"
    assert server.seen[0].headers["host"] == "lab.example.org"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.8.8.8", "[::1]", "unroll.localhost", OWN, f"{OWN.upper()}:8000", "0.0.0.0"]
)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_this_machine_is_asked_directly(monkeypatch: pytest.MonkeyPatch, variable: str, host: str) -> None:
    monkeypatch.setenv(variable, "socks5://proxy.invalid:1080")
    for scheme in ("http", "https"):
        assert proxy_for(f"{scheme}://{host}") is None


def test_an_address_of_this_machine_is_told_from_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    bound: list[str] = []

    def bind(_self: object, address: tuple[str, int]) -> None:
        bound.append(address[0])
        if address[0] != "192.0.2.1":
            raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr("unroll._way.socket.socket.bind", bind, raising=False)
    assert proxy_for("http://192.0.2.1:8000") is None
    assert proxy_for("http://192.0.2.2:8000") is not None
    assert bound == ["192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize(
    ("spared", "host", "direct"),
    [
        ("example.org", "lab.example.org", True),
        (".example.org", "lab.example.org", True),
        ("*.example.org", "lab.example.org", True),
        ("*.example.org", "example.org", False),
        ("a.example, *", "lab.example.org", True),
        ("lab.example.org:8000", "lab.example.org:8000", True),
        ("lab.example.org:8000", "lab.example.org:9000", False),
        ("192.0.2.0/24", "192.0.2.7", True),
        ("192.0.2.0/24", "192.0.3.7", False),
        ("2001:db8::/32", "[2001:db8::7]", True),
        ("nonsense/24, 10.0.0.0/99", "192.0.2.7", False),
        ("other.org", "lab.example.org", False),
    ],
)
def test_no_proxy_spares_names_and_networks(
    monkeypatch: pytest.MonkeyPatch, *, spared: str, host: str, direct: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", spared)
    assert (proxy_for(f"http://{host}") is None) == direct


@contextmanager
def socks(target: ScriptedServer) -> Iterator[tuple[str, list[bytes]]]:
    """A SOCKS 5 proxy (RFC 1928) for one connection, which leads to `target`: its address, and the hosts named."""
    named: list[bytes] = []

    def run() -> None:
        asked, _ = listening.accept()
        with asked, socket.create_connection(("127.0.0.1", int(target.url.rpartition(":")[2]))) as server:
            asked.recv(64)
            asked.sendall(b"\x05\x00")
            request = asked.recv(512)
            named.append(request[5 : 5 + request[4]])
            asked.sendall(b"\x05\x00\x00\x01" + bytes(6))
            server.sendall(asked.recv(65536))
            while answer := server.recv(65536):
                asked.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=run)
        thread.start()
        yield f"socks5h://127.0.0.1:{listening.getsockname()[1]}", named
        thread.join(20)


def test_a_socks_proxy_is_used(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script = lambda _: Answer(body=examples.job(), headers={"Connection": "close"})
    with socks(server) as (address, named):
        monkeypatch.setenv("ALL_PROXY", address)
        with Client(LAB, "secret") as client:
            assert client.jobs.get("job_1").id == "job_1"
    assert named == [b"lab.example.org"]


def test_a_socks_proxy_without_its_extra_is_told_with_what_to_install(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "socks5://user:pass@127.0.0.1:1080")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(ValueError, match=r'all_proxy names a SOCKS .* pip install "unroll-sdk\[socks\]"; or list lab'):
        Client(LAB)
    server.script = lambda _: Answer(body={"data": [], "next": None})
    assert unroll(server, "jobs").returncode == 0  # it is on this machine
    server.url = LAB
    ended = unroll(server, "jobs")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "pass" not in ended.stderr


@pytest.mark.parametrize(
    "proxy", ["socks://user:pass@127.0.0.1:1080", "ftp://user:pass@x", "http://", "http://[", "::", "http://u:pass@x:y"]
)
def test_a_proxy_that_cannot_be_used_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY .*NO_PROXY") as caught:
        Client("https://lab.example.org")
    assert "pass" not in str(caught.value)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("ALL_PROXY", proxy)  # one that is not needed is not looked at
    Client("https://lab.example.org").close()


def test_a_failure_on_the_way_names_the_proxy_but_not_its_password(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:pass@127.0.0.1:9")
    with Client(LAB, attempts=1) as client, pytest.raises(APIConnectionError) as caught:
        client.me()
    assert "through the proxy http://127.0.0.1:9 (HTTP_PROXY)" in str(caught.value)
    monkeypatch.setenv("HTTP_PROXY", server.url.replace("//", "//user:pass@"))
    server.script = lambda _: Answer(407, b"who are you?")
    with Client(LAB, attempts=1) as client, pytest.raises(APIError) as refused:
        client.me()
    assert f"the answer of the proxy {server.url} (HTTP_PROXY)" in str(refused.value)
    assert "pass" not in f"{caught.value} {refused.value}"


def test_a_certificate_of_ones_own_is_trusted_where_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(tls=True) as server:
        server.script = jobs
        with Client(server.url, attempts=1) as client, pytest.raises(APIConnectionError) as caught:
            client.jobs.get("job_1")
        assert "SSL_CERT_FILE names a file of certificates to trust" in str(caught.value)
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        with Client(server.url, attempts=1) as client:
            assert client.jobs.get("job_1").id == "job_1"


@pytest.mark.parametrize(
    ("variable", "path", "why"),
    [
        ("SSL_CERT_FILE", "none.pem", "it does not exist"),
        ("SSL_CERT_FILE", ".", "it is no file"),
        ("SSL_CERT_FILE", "empty.pem", "it has no certificate in PEM form"),
        ("SSL_CERT_DIR", "none", "it does not exist"),
        ("SSL_CERT_DIR", "empty.pem", "it is no folder"),
    ],
)
def test_certificates_that_cannot_be_read_are_told_by_variable_and_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, path: str, why: str
) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    monkeypatch.setenv(variable, str(tmp_path / path))
    with pytest.raises(ValueError, match="cannot be read") as caught:
        Client("https://lab.example.org")
    assert str(caught.value).startswith(f"{variable} is {tmp_path / path}, which cannot be read ({why})")
    Client(LAB).close()  # where nothing is encrypted they are not needed
