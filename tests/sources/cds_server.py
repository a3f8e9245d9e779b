"""A data store on loopback: the retrieval API of ECMWF's data stores, real GRIB, and faults on demand."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import product
from threading import Event, Lock
from typing import Any

import eccodes
import numpy as np

from tests.loopback import Handler, serving

KEY = "5f0c9d7e-1a2b-4c3d-8e4f-0123456789ab"
PAGE = b"<!DOCTYPE html><html><body>Please log in.</body></html>"
PARAMS = {
    "2m_temperature": 167, "mean_sea_level_pressure": 151, "surface_pressure": 134, "temperature": 130,
    "geopotential": 129, "land_sea_mask": 172, "soil_type": 43, "total_precipitation": 228,
    "10m_u_component_of_wind": 165, "10m_v_component_of_wind": 166,
}  # fmt: skip
STATIC = ("land_sea_mask", "soil_type")
JSON, GRIB = {"Content-Type": "application/json"}, {"Content-Type": "application/x-grib"}


@dataclass
class Fault:
    """What goes wrong with the requests whose ``METHOD /path`` a pattern finds.

    ``action`` is a status, ``cut`` (before any header), ``cut:N`` (after N bytes of the body), ``stall:N``
    (silence after N bytes), ``short:N`` (a body of N bytes that looks whole), ``page``, ``page as grib``,
    ``damage`` (a byte of the body is another) or ``no range``.
    """

    pattern: str
    action: int | str
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    collection: str
    inputs: dict[str, Any]
    polls: int = 0
    status: str = "accepted"


class DataStore:
    """The server's state; tests read what it was asked, and set how it answers.

    Attributes:
        requests: every request as (``METHOD /path``, headers).
        jobs: by id, in order of their submission.
        statuses: of a job, poll by poll; the last one stays. By variable in ``statuses_of``.
        rejections: jobs, from the next one on, that are rejected whatever ``statuses`` says.
        most_open: jobs that were unfinished at a time, at most.
        preliminary_from: fields from this time on are ERA5T.
        missing: a valid time that no file holds.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.jobs: dict[str, Job] = {}
        self.faults: list[Fault] = []
        self.statuses: tuple[str, ...] = ("accepted", "running", "successful")
        self.statuses_of: dict[str, tuple[str, ...]] = {}
        self.rejections = 0
        self.most_open = 0
        self.reason = "Request has not produced a valid combination of values"
        self.preliminary_from = datetime.max
        self.missing: datetime | None = None
        self.checksum: str | None = None
        self.cut_files_to: int | None = None
        self.url = ""
        self.lock = Lock()
        self.stopping = Event()

    def asked(self, pattern: str) -> list[dict[str, str]]:
        """Headers of the requests that a pattern finds."""
        return [headers for line, headers in self.requests if re.search(pattern, line)]

    def submissions(self) -> list[str]:
        """First variable of every submitted request."""
        return [job.inputs["variable"][0] for job in self.jobs.values()]

    def fault(self, line: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, line):
                fault.times -= 1
                return fault
        return None

    def submit(self, collection: str, inputs: dict[str, Any]) -> str:
        number = f"00000000-0000-4000-8000-{len(self.jobs) + 1:012d}"
        self.jobs[number] = Job(collection, inputs)
        if self.rejections:
            self.rejections -= 1
            self.jobs[number].status = "rejected"
        self.most_open = max(
            self.most_open, sum(j.status in ("accepted", "running") for j in self.jobs.values())
        )
        return number

    def poll(self, job: Job) -> None:
        if job.status == "rejected":
            return
        statuses = self.statuses_of.get(job.inputs["variable"][0], self.statuses)
        job.status = statuses[min(job.polls, len(statuses) - 1)]
        job.polls += 1

    def body(self, job: Job) -> bytes:
        content = grib(job.collection, job.inputs, self.preliminary_from, self.missing)
        return content[: self.cut_files_to]


def times_of(inputs: dict[str, Any]) -> list[datetime]:
    """Valid times of a request."""
    parts = product(inputs["year"], inputs["month"], inputs["day"], inputs["time"])
    return [datetime.fromisoformat(f"{y}-{m}-{d}T{hour}") for y, m, d, hour in parts]


def axes(inputs: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes, north first, and longitudes of a request, in degrees."""
    step = inputs.get("grid", [15.0, 15.0])[0]
    north, west, south, east = inputs.get("area", [90.0, 0.0, -90.0, 360.0 - step])
    return np.arange(north, south - step / 2, -step), np.arange(west, east + step / 2, step)


def values(name: str, level: int, moment: datetime, member: int, inputs: dict[str, Any]) -> np.ndarray:
    """A field in closed form, ``(latitude, longitude)``: colder aloft, at the poles and in winter."""
    latitude, longitude = np.meshgrid(*axes(inputs), indexing="ij")
    waves = np.cos(np.deg2rad(longitude)) * np.cos(np.deg2rad(latitude))
    if name in STATIC:
        return (waves > 0).astype(float)
    if name == "total_precipitation":
        return 1e-4 * (moment.hour + 1) * (1 + waves)
    warmth = (
        290 - 40 * np.sin(np.deg2rad(latitude + 10)) ** 2 + waves + moment.day + moment.hour / 10 + member
    )
    return warmth - (1000 - level) / 12 if level else warmth


def grib(
    collection: str, inputs: dict[str, Any], preliminary_from: datetime, missing: datetime | None
) -> bytes:
    """What the store delivers for a request."""
    levels = [int(level) for level in inputs.get("pressure_level", [0])]
    ensemble = inputs["product_type"] == ["ensemble_members"]
    assert inputs["data_format"] == "grib" and inputs["download_format"] == "unarchived"
    assert bool(levels[0]) == (collection == "reanalysis-era5-pressure-levels")
    found = b""
    for name, moment, level in product(inputs["variable"], times_of(inputs), levels):
        for member in range(10) if ensemble else (None,):
            if moment == missing:
                continue
            version = "0005" if moment >= preliminary_from else "0001"
            found += message(name, level, moment, member, version, inputs)
    return found


def message(
    name: str, level: int, moment: datetime, member: int | None, version: str, inputs: dict[str, Any]
) -> bytes:
    """One field in GRIB 1, with ERA5's headers."""
    latitude, longitude = axes(inputs)
    hours = (moment.hour - 7) % 12 + 1 if name == "total_precipitation" else 0
    base = moment - timedelta(hours=hours)
    keys: dict[str, Any] = {
        "centre": "ecmf", "class": "ea", "stream": "oper" if member is None else "enda", "expver": version,
        "type": "fc" if hours else "an", "paramId": PARAMS[name],
        "Ni": longitude.size, "Nj": latitude.size,
        "latitudeOfFirstGridPointInDegrees": latitude[0], "latitudeOfLastGridPointInDegrees": latitude[-1],
        "longitudeOfFirstGridPointInDegrees": longitude[0],
        "longitudeOfLastGridPointInDegrees": longitude[-1],
        "iDirectionIncrementInDegrees": longitude[1] - longitude[0],
        "jDirectionIncrementInDegrees": latitude[0] - latitude[1],
        "dataDate": int(f"{base:%Y%m%d}"), "dataTime": base.hour * 100,
    }  # fmt: skip
    if level:
        keys["level"] = level
    if hours:
        keys |= {"stepType": "accum", "startStep": hours - 1, "endStep": hours}
    if member is not None:
        keys |= {"localDefinitionNumber": 1, "number": member, "numberOfForecastsInEnsemble": 10}
    handle = eccodes.codes_grib_new_from_samples(f"regular_ll_{'pl' if level else 'sfc'}_grib1")
    try:
        for key, value in keys.items():
            eccodes.codes_set(handle, key, value)
        eccodes.codes_set_values(handle, np.linspace(0, 1, latitude.size * longitude.size))
        eccodes.codes_set(handle, "bitsPerValue", 16)
        field = values(name, level, moment, member or 0, inputs)
        eccodes.codes_set_values(handle, np.ascontiguousarray(field).ravel())
        return bytes(eccodes.codes_get_message(handle))
    finally:
        eccodes.codes_release(handle)


class _Handler(Handler):
    def __init__(self, store: DataStore, *arguments: Any) -> None:
        self.store = store
        super().__init__(*arguments)

    def answer(self) -> None:
        store = self.store
        path = self.path.partition("?")[0]
        line = f"{self.command} {path}"
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with store.lock:
            store.requests.append((line, dict(self.headers)))
            fault = store.fault(line)
        action = fault.action if fault else ""
        if action == "cut":
            self.cut()
        elif fault and isinstance(fault.action, int):
            self.reply(fault.action, b'{"title": "busy"}', JSON | fault.headers)
        elif action in ("page", "page as grib"):
            kind = "text/html; charset=utf-8" if action == "page" else "application/x-grib"
            self.reply(200, PAGE, {"Content-Type": kind})
        elif path.startswith("/store/"):
            self.send_file(store.body(store.jobs[path[7:-5]]), str(action))
        else:
            with store.lock:
                status, answer = self.api(store, path, sent)
            limit = int(str(action)[4:]) if str(action).startswith("cut:") else None
            self.reply(status, json.dumps(answer).encode(), JSON, limit=limit)

    def api(self, store: DataStore, path: str, sent: bytes) -> tuple[int, Any]:
        if path == "/api/catalogue/v1/messages":
            return 200, {"messages": []}
        if self.headers.get("PRIVATE-TOKEN") != KEY:
            token = self.headers.get("PRIVATE-TOKEN")
            return 401, {"title": "authentication failed", "detail": f"no such token: {token}"}
        jobs = f"{store.url}/retrieve/v1/jobs"
        if match := re.fullmatch(r"/api/retrieve/v1/processes/([\w-]+)(/execution)?", path):
            if not match[1].startswith("reanalysis-era5-"):
                return 404, {"title": "process not found"}
            if not match[2]:
                return 200, {"id": match[1], "links": []}
            number = store.submit(match[1], json.loads(sent)["inputs"])
            links = [{"rel": rel, "href": f"{jobs}/{number}"} for rel in ("self", "monitor")]
            return 201, {"jobID": number, "status": "accepted", "links": links}
        match = re.fullmatch(r"/api/retrieve/v1/jobs/([\w-]+)(/results)?", path)
        if match is None or match[1] not in store.jobs:
            return 404, {"title": "job not found"}
        number, job = match[1], store.jobs[match[1]]
        if not match[2]:
            store.poll(job)
            links = [{"rel": "self", "href": f"{jobs}/{number}"}]
            if job.status == "successful":
                links.append({"rel": "results", "href": f"{jobs}/{number}/results"})
            return 200, {"jobID": number, "status": job.status, "links": links}
        if job.status != "successful":
            return 400, {"title": f"The job has {job.status}", "status": 400, "traceback": store.reason}
        body = store.body(job)
        asset = {
            "type": "application/x-grib",
            "href": f"{store.url.removesuffix('/api')}/store/{number}.grib",
            "file:checksum": store.checksum or f"{int(hashlib.md5(body).hexdigest(), 16):x}",
            "file:size": len(body),
        }
        return 200, {"asset": {"value": asset}}

    def send_file(self, body: bytes, action: str) -> None:
        kind, _, number = action.partition(":")
        if kind == "short":
            return self.reply(200, body[: int(number)], GRIB)
        if kind == "damage":
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        if kind == "no range":
            return self.reply(200, body, GRIB | {"Accept-Ranges": "bytes"})
        limit = int(number) if kind in ("cut", "stall") else None
        stall = self.store.stopping if kind == "stall" else None
        self.reply_from_start_asked_for(body, GRIB, limit=limit, stall=stall)


@contextmanager
def running() -> Iterator[DataStore]:
    """A data store that answers at its ``url``."""
    store = DataStore()
    with serving(partial(_Handler, store)) as url:
        store.url = f"{url}/api"
        try:
            yield store
        finally:
            store.stopping.set()
