"""Where a secret may go: to the server that it was given for, over TLS, and nowhere else."""

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_PORTS = {"http": 80, "https": 443}


def same_server(url: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port.

    >>> same_server("https://store.org/api", "https://STORE.org:443/results?page=2")
    True
    >>> same_server("https://store.org/api", "https://store.org:8443/api")
    False
    """
    return _server(urlsplit(url)) == _server(urlsplit(other))


def check_encrypted(url: str) -> None:
    """Refuse a server that is not reached over TLS, unless it is on this machine.

    Raises:
        ValueError: the URL is not ``https``. The message names its server and not its path, which may hold
            a signature.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise ValueError(
        f"{parts.scheme}://{parts.hostname}: expected https, so that no one reads or changes data"
    )


def _server(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False
