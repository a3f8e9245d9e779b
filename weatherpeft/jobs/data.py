"""Jobs on data: downloads, regridding, statistics and climatology."""

from datetime import datetime
from functools import cached_property
from typing import Literal

from weatherpeft.config import Experiment, check_path
from weatherpeft.fields.variables import accumulation
from weatherpeft.interfaces import DataRequest, Source, Task
from weatherpeft.jobs.paths import Paths
from weatherpeft.samples.ensemble_window import EnsembleWindow
from weatherpeft.samples.splits import Split
from weatherpeft.sources import AnyForecastSource, AnySource
from weatherpeft.spec import DAY, Period
from weatherpeft.stages.climatology import ClimatologySpec
from weatherpeft.stages.download import DownloadSpec
from weatherpeft.stages.efi import EfiSpec
from weatherpeft.stages.moments import MomentsSpec
from weatherpeft.stages.pack import PackSpec
from weatherpeft.stages.regrid import RegridSpec
from weatherpeft.stages.series import SeriesSpec
from weatherpeft.stages.standardization import StandardizationSpec
from weatherpeft.stages.statistics import StatisticsSpec

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class DataJobs:
    """Specs and inputs of the jobs that download data, regrid it and compute its statistics.

    A method with the name of a rule returns the spec of the rule's job. If the rule has several jobs, it
    takes the job's label.

    Attributes:
        experiment: the configuration.
        paths: paths of the artifacts.

    Args:
        experiment: the configuration.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.paths = Paths(experiment)
        self._task: Task = experiment.task
        self._window = experiment.task.window
        self._splits = experiment.splits

    # Periods: labels of the download and regrid jobs, and the files of these jobs.

    def periods(self, *splits: SplitName) -> list[str]:
        """Labels of the source's periods that these splits need; of all splits if none is given."""
        return self._needed(self._period, splits)

    def forecast_periods(self, *splits: SplitName) -> list[str]:
        """Labels of the forecasts' periods that these splits need; none if there are no forecasts."""
        return self._needed(self._forecast_period, splits)

    def _needed(self, periods: dict[str, Period], splits: tuple[SplitName, ...]) -> list[str]:
        wanted = [period for name in splits or SPLITS for period in getattr(self._splits, name).periods]
        return [label for label, own in periods.items() if any(map(own.meets, wanted))]

    @cached_property
    def _period(self) -> dict[str, Period]:
        return {period.label: period for period in self.experiment.source.periods()}

    @cached_property
    def _forecast_period(self) -> dict[str, Period]:
        own = self.experiment.forecasts
        source = own.source if own and own.source else self.experiment.source
        return {period.label: period for period in source.periods()} if own else {}

    @cached_property
    def _train_period_to(self) -> dict[datetime, str]:
        """The label of each training period by the hour after its last one."""
        return {self._period[label].stop: label for label in self.periods("train")}

    @cached_property
    def _hours(self) -> tuple[int, ...]:
        """Hours of the day of the analyses; empty where they are every ``step_hours``."""
        every, periods = range(0, 24, self.experiment.step_hours), self._period.values()
        found = {hour for period in periods for hour in period.hours or every}
        return () if found == {*every} else tuple(sorted(found))

    def source_files(self) -> list[str]:
        """The user's own files that the download jobs read.

        Raises:
            ValueError: a file is missing or has a name that cannot be used. The message names it.
        """
        return self._files(self.experiment.source)

    def forecast_files(self) -> list[str]:
        """The user's own files that the download jobs read for the forecasts' own source.

        Raises:
            ValueError: a file is missing or has a name that cannot be used. The message names it.
        """
        own = self.experiment.forecasts
        return self._files(own.source) if own and own.source else []

    def _files(self, source: Source) -> list[str]:
        files = [str(path) for path in source.files()]
        for file in files:
            check_path(f"source {source.name}", file)
        return files

    def raw_forecasts(self, period: str) -> str:
        """Folder of a period's raw forecasts, which is that of the analyses if their source makes both."""
        own = self.experiment.forecasts
        return (self.paths.raw_forecasts if own and own.source else self.paths.raw).format(period=period)

    def regridded(self, *splits: SplitName) -> list[str]:
        """The regridded analyses that these splits need."""
        return [self.paths.regridded.format(period=period) for period in self.periods(*splits)]

    def regridded_forecasts(self, *splits: SplitName) -> list[str]:
        """The regridded forecasts that these splits need, if the task corrects forecasts."""
        periods = self.forecast_periods(*splits) if self._task.needs_forecasts else []
        return [self.paths.regridded_forecasts.format(period=period) for period in periods]

    def training_data(self, *splits: SplitName) -> list[str]:
        """The regridded or packed analyses that training on these splits reads."""
        stores = {"float32": self.paths.regridded, "int16": self.paths.packed}
        path = stores[self.experiment.training_store]
        return [path.format(period=period) for period in self.periods(*splits)]

    # Raw data and its grids.

    def request(self, period: str) -> DataRequest:
        """Fields, times and members that a download job of the analyses brings."""
        members = {member for name in SPLITS for member in getattr(self._splits, name).members}
        return DataRequest(
            variables=self.experiment.variables.stored,
            period=self._period[period],
            step_hours=self.experiment.step_hours,
            members=tuple(sorted(members)),
        )

    def download(self, period: str) -> DownloadSpec:
        """Download of the analyses of a period."""
        request = self.request(period)
        return DownloadSpec(
            source=_narrowed(self.experiment.source, request.period), request=request.in_files
        )

    def regrid(self, period: str) -> RegridSpec:
        """Regridding of the analyses of a period to every grid that the experiment needs."""
        pretraining = self.experiment.pretraining
        windows = [self._window, *([pretraining.task.window] if pretraining else [])]
        grids = {grid.label: grid for window in windows for grid in (window.input_grid, window.target_grid)}
        request = self.request(period)
        return RegridSpec(
            source=_narrowed(self.experiment.source, request.period),
            request=request,
            grids=tuple(grids[label] for label in sorted(grids)),
            method=self.experiment.regridding,
            plausible=self.experiment.source.plausible,
        )

    def _forecasts(self, label: str) -> tuple[AnySource | AnyForecastSource, DataRequest]:
        """The source of all forecasts and the request of a period.

        Raises:
            ValueError: the experiment has no forecasts.
        """
        own = self.experiment.forecasts
        if own is None:
            raise ValueError(f"experiment {self.experiment.name} has no forecasts")
        period = self._forecast_period[label]
        request = DataRequest(
            variables=own.variables,
            period=period,
            step_hours=own.step_hours,
            members=own.members,
            lead_hours=own.lead_hours,
        )
        return own.source or self.experiment.source, request

    def download_forecasts(self, period: str) -> DownloadSpec:
        """Download of the forecasts of a period from their own source."""
        source, request = self._forecasts(period)
        return DownloadSpec(source=_narrowed(source, request.period), request=request.in_files)

    def regrid_forecasts(self, period: str) -> RegridSpec:
        """Regridding of the forecasts of a period to the grid of the task's input."""
        source, request = self._forecasts(period)
        return RegridSpec(
            source=_narrowed(source, request.period),
            request=request,
            grids=(self._window.input_grid,),
            method=self.experiment.regridding,
            plausible=source.plausible,
        )

    def pack(self, period: str) -> PackSpec:
        """Packing of the analyses of a period as integers."""
        return PackSpec(variables=self.experiment.variables.stored, grids=self.regrid(period).grids)

    # Statistics and climatology of the training period.

    def _train(self, first: datetime, stop: datetime) -> Split:
        """The part of the training split from an hour on to before another one."""
        train = self._splits.train
        parts = [part for period in train.periods if (part := period.within(first, stop))]
        return Split(periods=tuple(parts), members=train.members)

    def _with_day_before(self, label: str, names: tuple[str, ...]) -> list[str]:
        """A regridded training period, preceded by the one into which sums among some names reach."""
        before = self._train_period_to.get(self._period[label].first)
        sums = any(accumulation(name) for name in names)
        periods = [before, label] if before and sums else [label]
        return [self.paths.regridded.format(period=period) for period in periods]

    def moments(self, period: str) -> MomentsSpec:
        """Moments of a training period."""
        own, sums = self._period[period], bool(self.experiment.variables.sums)
        return MomentsSpec(
            variables=self.experiment.variables,
            grid=self._window.target_grid,
            train=self._train(own.first - sums * DAY, own.stop),
            period=own if sums else None,
        )

    def moments_data(self, period: str) -> list[str]:
        """The regridded analyses that a moments job reads."""
        return self._with_day_before(period, self.experiment.variables.sums)

    def statistics(self) -> StatisticsSpec:
        """Statistics of all training periods."""
        return StatisticsSpec(variables=self.experiment.variables)

    def standardization(self) -> StandardizationSpec:
        """Statistics of the frames of the forecasts."""
        return StandardizationSpec(
            window=self._ensemble_window, fields=self.experiment.inputs, train=self._splits.train
        )

    @property
    def _ensemble_window(self) -> EnsembleWindow:
        if not isinstance(self._window, EnsembleWindow):
            raise ValueError(f"the task {self._task.name} corrects no forecasts")
        return self._window

    @property
    def tuning_statistics(self) -> str:
        """Path of the artifact that normalizes a tuned model's input."""
        return str(getattr(self.paths, self._task.statistics))

    def series(self, period: str) -> SeriesSpec:
        """Series of a training period, for the climatology."""
        own = self._period[period]
        return SeriesSpec(
            names=self._task.needs_climatology,
            grid=self._window.target_grid,
            step_hours=self.experiment.step_hours,
            period=own,
            train=self._train(own.first - DAY, own.stop),
            hours=self._hours,
        )

    def series_data(self, period: str) -> list[str]:
        """The regridded analyses that a series job reads."""
        return self._with_day_before(period, self._task.needs_climatology)

    def climatology(self) -> ClimatologySpec:
        """Climatology of all training periods."""
        return ClimatologySpec(
            names=self._task.needs_climatology,
            grid=self._window.target_grid,
            step_hours=self.experiment.step_hours,
            hours=self._hours,
            dry_thresholds=dict(self._task.dry_thresholds),
        )

    @property
    def climatology_path(self) -> list[str]:
        """The climatology that baselines and scores read, if the task needs one."""
        return [self.paths.climatology] if self._task.needs_climatology else []

    def efi(self) -> EfiSpec:
        """Extreme forecast index of the test forecasts.

        Raises:
            ValueError: the experiment has no forecasts.
        """
        if self.experiment.forecasts is None:
            raise ValueError(f"experiment {self.experiment.name} has no forecasts")
        return EfiSpec(
            window=self._ensemble_window,
            fields=self.experiment.inputs,
            train=self._splits.train,
            test=self._splits.test,
            form=self.experiment.forecasts.efi,
        )

    @property
    def efi_path(self) -> list[str]:
        """The extreme forecast index that scores read, if the task corrects forecasts."""
        return [self.paths.efi] if self._task.needs_forecasts else []


def _narrowed(source: AnySource | AnyForecastSource, period: Period) -> AnySource | AnyForecastSource:
    """The part of a source that a period's jobs need.

    What the user takes for plausible is a matter of the regrid stage: to change it downloads nothing again.
    """
    return source.narrowed(period).model_copy(update={"plausible": "stop"})
