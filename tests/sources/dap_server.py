"""pydap's OPeNDAP server on loopback, of one NetCDF file, with faults on demand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

import netCDF4
from pydap.handlers.lib import BaseHandler
from pydap.model import BaseType, DatasetType, GridType
from webob import Request

from tests.loopback import serving


@dataclass
class DapServer:
    """The server's state.

    Attributes:
        url: of the dataset.
        asked: what was asked for, such as ``dods?tas[0:1:3]``.
        sizes: bytes of each answer.
        fault: for what is asked for, the status of the answer, ``cut:N`` (the connection, after N bytes) or
            ``end:N`` (the answer, after N bytes, as far as the client can tell).
    """

    url: str
    asked: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    fault: Callable[[str], int | str | None] = lambda _: None

    def values(self) -> list[str]:
        """The requests for values of arrays with several dimensions."""
        return [asked for asked in self.asked if asked.startswith("dods") and asked.count("[") > 1]


def _application(path: Path, grids: bool) -> BaseHandler:
    """The server of a file, whose arrays have maps as those of other servers do, or none."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        dataset = DatasetType("file", dimensions={name: len(d) for name, d in file.dimensions.items()})

        def array(name: str) -> BaseType:
            found = file[name]
            dims = [f"/{one}" for one in found.dimensions]
            return BaseType(name, found[...], dims=dims, **{k: found.getncattr(k) for k in found.ncattrs()})

        for name, found in file.variables.items():
            if grids and found.ndim > 1:
                dataset[name] = GridType(name, **array(name).attributes)
                dataset[name][name] = array(name)
                for one in found.dimensions:
                    dataset[name][one] = array(one)
            else:
                dataset[name] = array(name)
    return BaseHandler(dataset)


@contextmanager
def opendap(path: Path, grids: bool = False) -> Iterator[DapServer]:
    """Serve a NetCDF file."""
    application = _application(path, grids)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = Request.blank(self.path).get_response(application)
            body, asked = answer.body, unquote(self.path).partition(".nc.")[2]
            state.asked.append(asked)
            state.sizes.append(len(body))
            fault = state.fault(asked)
            if isinstance(fault, int):
                self.send_error(fault)
                return
            kind, _, length = (fault or "").partition(":")
            self.send_response(200)
            for name, value in answer.headers.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            if kind != "end":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: int(length)] if length else body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        state = DapServer(f"{url}/file.nc")
        yield state
