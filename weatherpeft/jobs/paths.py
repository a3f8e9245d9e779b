"""Paths of the artifacts of an experiment."""

import os

from weatherpeft.config import Experiment


class Paths:
    """Paths of the artifacts of an experiment.

    ``{period}``, ``{run}`` and other names in braces stand for labels. ``~`` in the configuration stands for
    the home folder.

    Args:
        experiment: the configuration.
    """

    def __init__(self, experiment: Experiment) -> None:
        data, results = os.path.expanduser(experiment.data), os.path.expanduser(experiment.results)
        root = f"{results}/{experiment.name}"
        self.root = root
        self.download_work = f"{data}/work"
        self.shared_raw, self.shared_regridded = f"{data}/raw", f"{data}/regridded"
        self.weights = f"{data}/weights/{{weights}}"
        self.logs, self.benchmarks, self.work = (f"{root}/{name}" for name in ("logs", "benchmarks", "work"))
        self.raw = f"{root}/raw/{{period}}"
        self.raw_forecasts = f"{root}/raw_forecasts/{{period}}"
        self.regridded = f"{root}/regridded/{{period}}"
        self.regridded_forecasts = f"{root}/forecasts/{{period}}"
        self.packed = f"{root}/packed/{{period}}"
        self.moments = f"{root}/moments/{{period}}"
        self.statistics = f"{root}/statistics"
        self.standardization = f"{root}/standardization"
        self.efi = f"{root}/efi"
        self.series = f"{root}/series/{{period}}"
        self.climatology = f"{root}/climatology"
        self.pretrained = f"{root}/pretrained"
        self.fisher = f"{root}/fisher"
        self.candidate = f"{root}/candidates/{{candidate}}"
        self.run = f"{root}/runs/{{run}}"
        self.predictions = f"{root}/predictions/{{forecast}}"
        self.scores = f"{root}/scores/{{forecast}}"
        self.report = f"{root}/report"
