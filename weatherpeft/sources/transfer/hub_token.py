"""The token of the Hugging Face Hub: sent to the Hub alone, over TLS."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weatherpeft.sources.transfer.secrets import check_encrypted, same_server

if TYPE_CHECKING:
    from huggingface_hub.utils import httpx


def keep_token_at(url: str) -> None:
    """Have the Hub's client send its token to the server of a URL alone, and use TLS everywhere.

    The client itself trusts each server that it knows as a Hub, and follows a redirect to ``http``.
    """
    from huggingface_hub import get_session, set_client_factory
    from huggingface_hub.utils import httpx

    hooks = [hook for hook in get_session().event_hooks["request"] if not isinstance(hook, _TokenAt)]
    hooks.append(_TokenAt(url))
    set_client_factory(
        lambda: httpx.Client(event_hooks={"request": hooks}, follow_redirects=True, timeout=None)
    )


@dataclass(frozen=True)
class _TokenAt:
    """Looks at each request of the Hub's client before it is sent, redirected ones too."""

    url: str

    def __call__(self, request: "httpx.Request") -> None:
        """Refuse a request without TLS, and take the token from one to another server."""
        check_encrypted(str(request.url))
        if not same_server(str(request.url), self.url):
            request.headers.pop("Authorization", None)


@contextmanager
def hub_refusals(what: str) -> Iterator[None]:
    """Make one line of what the Hub's client raises.

    Raises:
        ValueError: the Hub refused, or cannot be reached. The message begins with ``what``.
    """
    from huggingface_hub.utils import HFValidationError, httpx

    try:
        yield
    except (httpx.HTTPError, HFValidationError) as error:
        raise ValueError(f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from error
