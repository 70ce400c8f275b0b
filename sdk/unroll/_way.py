"""The way to a server: directly or through a proxy of the environment, and whose certificates are trusted on it."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

SCHEMES = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True)
class Proxy:
    """A proxy, and the variable that names it."""

    url: str = field(repr=False)
    variable: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} ({self.variable})"

    def through(self, trusted: ssl.SSLContext) -> httpx2.Proxy:
        """Return it as httpx2 wants it; `trusted` is for a proxy that is spoken to with TLS."""
        return httpx2.Proxy(self.url, ssl_context=trusted if self.url.startswith("https:") else None)


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy that the environment names for an address, None if there is none or it is not for this address.

    This machine is never asked through a proxy, which would ask itself. Raises ValueError, which names the variable,
    for a proxy that cannot be used.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    named = getproxies()
    scheme = parts.scheme if named.get(parts.scheme) else "all"
    if not named.get(scheme) or is_own(host) or proxy_bypass(parts.netloc.lower()) or _is_spared(host, named):
        return None
    given = named[scheme].strip()
    proxy = Proxy(given if "://" in given else f"http://{given}", _variable(scheme))
    instead = f"mend it, or list {host} in NO_PROXY"
    try:
        found = urlsplit(proxy.url)
        usable = bool(httpx2.URL(proxy.url).host and found.hostname and found.port != 0)
    except (ValueError, httpx2.InvalidURL):
        usable = False
    if not usable:
        raise ValueError(f"{proxy.variable} is not the address of a proxy: {instead}")
    if found.scheme not in SCHEMES:
        raise ValueError(f"{proxy.variable} names a proxy {found.scheme}://; known are {', '.join(SCHEMES)}: {instead}")
    if found.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ValueError(
            f'{proxy.variable} names a SOCKS proxy, which needs an extra: pip install "unroll-sdk[socks]"; or list '
            f"{host} in NO_PROXY"
        )
    return proxy


def trusted(url: str, proxy: Proxy | None) -> ssl.SSLContext:
    """Return what is trusted on the way to an address: SSL_CERT_FILE or SSL_CERT_DIR, or what this machine trusts.

    Raises ValueError, which names variable and path, if they cannot be read. Without TLS on the way nothing is read,
    which takes 0.1 s, and nobody is trusted.
    """
    if not url.startswith("https:") and not (proxy and proxy.url.startswith("https:")):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    variable = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)
    if variable is None:
        return _certificates(None, 0)
    place = Path(os.environ[variable])
    what = "file" if variable == "SSL_CERT_FILE" else "folder"
    try:
        if not (place.is_file() if what == "file" else place.is_dir()):
            why = f"it is no {what}" if place.exists() else "it does not exist"
        else:
            return _certificates(place, place.stat().st_mtime_ns)
    except OSError as error:  # ssl.SSLError is one
        why = "it has no certificate in PEM form" if isinstance(error, ssl.SSLError) else str(error.strerror)
    cure = f"name a {what} of certificates, or do not set it"
    raise ValueError(f"{variable} is {place}, which cannot be read ({why}): {cure}") from None


@lru_cache(maxsize=1)
def _certificates(place: Path | None, changed: int) -> ssl.SSLContext:
    """Read the certificates that the environment names, or those of this machine, once until they are changed."""
    del place, changed
    return httpx2.create_ssl_context()


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, whatever machine this is."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761


def is_own(host: str) -> bool:
    """Return whether a host is this machine: the loopback, one of its names, or an address of its own."""
    own = socket.gethostname().lower()
    if is_loopback(host) or host == own:
        return True
    try:
        addresses = [str(ipaddress.ip_address(host))]
    except ValueError:
        if host.partition(".")[0] != own.partition(".")[0]:  # names of others are for the proxy to look up
            return False
        try:
            addresses = [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)]
        except OSError:
            return False
    return bool(addresses) and all(map(_is_own_address, addresses))


def _is_own_address(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))  # nothing is sent: the system takes only addresses of its own
    except OSError:
        return False
    return True


def _is_spared(host: str, named: dict[str, str]) -> bool:
    """Return whether NO_PROXY has a pattern for a host that Python's own reading of it does not know.

    These are networks (10.0.0.0/8), domains with a star (*.example.org), and a star among others.
    """
    for one in (entry.strip().lower() for entry in named.get("no", "").split(",")):
        if one == "*" or (one.startswith("*.") and host.endswith(one[1:])):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(one.strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False


def _variable(scheme: str) -> str:
    """Return the variable that names the proxy of a scheme, or what does so elsewhere."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), f"the system's {scheme} proxy")
