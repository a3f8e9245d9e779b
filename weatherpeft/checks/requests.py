"""What the sources cannot bring, as far as that is known without their data."""

from collections.abc import Callable, Iterable, Iterator

from pydantic import ValidationError

from weatherpeft.config import Experiment
from weatherpeft.interfaces import DataRequest, Source
from weatherpeft.jobs import Jobs


def requests(experiment: Experiment) -> Iterator[str]:
    """The first thing that the source lacks, and the first that the source of the forecasts lacks."""
    jobs, own = Jobs(experiment), experiment.forecasts
    for key, message in _lacking(experiment.source, jobs.periods(), lambda label: jobs.regrid(label).request):
        yield f"{_of_analyses(experiment, key)}: {message}"
    if own and experiment.task.needs_forecasts:
        source, labels = own.source or experiment.source, jobs.forecast_periods()
        for key, message in _lacking(source, labels, lambda label: jobs.regrid_forecasts(label).request):
            yield f"forecasts.{'source' if key == 'period' else key}: {message}"


def _lacking(
    source: Source, labels: Iterable[str], request: Callable[[str], DataRequest]
) -> Iterator[tuple[str, str]]:
    """The key of a request and what is wrong with it, for the first request that is refused."""
    for label in labels:
        try:
            source.check(request(label))
        except ValidationError as error:
            yield "variables", error.errors()[0]["msg"].removeprefix("Value error, ")
            return
        except ValueError as error:
            key, _, message = str(error).partition(": ")
            yield key, message
            return


def _of_analyses(experiment: Experiment, key: str) -> str:
    """The key of the configuration from which that of a request of the analyses comes."""
    if key != "members":
        return "source" if key == "period" else key
    named = (name for name in ("train", "validation", "test") if getattr(experiment.splits, name).members)
    return f"splits.{next(named, 'train')}.members"
