"""Jobs on models: weights, trainings, predictions, scores and the report."""

from weatherpeft.config import Run
from weatherpeft.fields.regions import held_out
from weatherpeft.jobs.data import DataJobs
from weatherpeft.stages.baseline import Baseline, BaselineSpec
from weatherpeft.stages.evaluate import EvaluateSpec
from weatherpeft.stages.finetune import FinetuneSpec
from weatherpeft.stages.fisher import FisherSpec
from weatherpeft.stages.predict import PredictSpec
from weatherpeft.stages.pretrain import PretrainSpec
from weatherpeft.stages.report import ReportedRun, ReportSpec
from weatherpeft.stages.weights import WeightsSpec
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.training.spec import Training
from weatherpeft.verification.scoring import AnyScoring


class Jobs(DataJobs):
    """Specs and inputs of all jobs of an experiment."""

    # Runs, each with a name and a seed.

    def run_labels(self) -> list[str]:
        """Labels of the finetune jobs, for example ``lora-seed0``."""
        return [f"{name}-seed{seed}" for name in self.experiment.runs for seed in self.experiment.seeds]

    def forecast_labels(self) -> list[str]:
        """Labels of everything that is scored: the baselines, then the runs."""
        return [*self.experiment.baselines, *self.run_labels()]

    def _run(self, label: str) -> tuple[Run, int]:
        name, _, seed = label.rpartition("-seed")
        return self.experiment.runs[name], int(seed)

    # Pretrained weights.

    def weights(self, label: str = "") -> WeightsSpec:
        """Download of published weights.

        Raises:
            ValueError: the experiment downloads no weights.
        """
        checkpoint = self.experiment.checkpoint
        if not isinstance(checkpoint, WeightsSpec):
            raise ValueError(f"experiment {self.experiment.name} downloads no weights")
        return checkpoint

    def pretrain(self) -> PretrainSpec:
        """The experiment's own pretraining.

        Raises:
            ValueError: the experiment has no pretraining.
        """
        own = self.experiment.pretraining
        if own is None:
            raise ValueError(f"experiment {self.experiment.name} has no pretraining")
        return PretrainSpec(
            backbone=self.experiment.backbone,
            fields=self.experiment.fields,
            task=own.task,
            splits=self._splits,
            training=own.training,
            seed=self.experiment.seed,
        )

    def pretraining_path(self) -> list[str]:
        """The artifact of the experiment's own pretraining, if it has one."""
        return [self.paths.pretrained] if self.experiment.pretraining else []

    def pretrained(self, start: str = "pretrained") -> list[str]:
        """The weights that a run with this start reads: an artifact, a file or nothing."""
        own = self.experiment
        if start == "random" or not own.has_pretrained:
            return []
        if own.pretraining:
            return self.pretraining_path()
        if isinstance(own.checkpoint, WeightsSpec):
            return [self.paths.weights.format(weights=own.checkpoint.label)]
        return [str(own.checkpoint)]

    # Trainings.

    def fisher(self) -> FisherSpec:
        """The Fisher warm-up."""
        own = self.experiment
        return FisherSpec(
            backbone=own.backbone,
            fields=own.inputs,
            task=own.task,
            train=self._splits.train,
            samples=own.fisher_samples,
            pretrained=own.has_pretrained,
            seed=own.seed,
            precision="float32" if own.training.precision == "float32" else "autocast",
            recompute=own.training.recompute,
            held_out=held_out(own.regions),
        )

    def _model(self, label: str) -> TunedModelSpec:
        run, seed = self._run(label)
        return TunedModelSpec(
            backbone=self.experiment.backbone,
            fields=self.experiment.inputs,
            task=self.experiment.task,
            methods=run.methods,
            pretrained=run.start == "pretrained",
            seed=seed,
        )

    def _training(self, label: str) -> Training:
        run, _ = self._run(label)
        changes = run.model_dump(mode="json", include={"steps", "precision"})
        changes = {name: value for name, value in changes.items() if value is not None}
        return Training.parse(self.experiment.training.model_dump(mode="json") | changes)

    def finetune(self, run: str) -> FinetuneSpec:
        """A fine-tuning run."""
        return FinetuneSpec(
            model=self._model(run),
            splits=self._splits,
            training=self._training(run),
            learning_rate=self._run(run)[0].learning_rate,
            held_out=held_out(self.experiment.regions),
        )

    def run_pretrained(self, run: str) -> list[str]:
        """The weights that a run starts from."""
        return self.pretrained(self._run(run)[0].start)

    def run_fisher(self, run: str) -> list[str]:
        """The Fisher store that a run reads."""
        methods = self._run(run)[0].methods
        return [self.paths.fisher] if any(method.needs_fisher for method in methods) else []

    # Forecasts and scores.

    def predict(self, run: str) -> PredictSpec:
        """Predictions of the test samples by a run."""
        precision = self._training(run).precision
        return PredictSpec(model=self._model(run), test=self._splits.test, precision=precision)

    def baseline(self, baseline: Baseline) -> BaselineSpec:
        """Predictions of the test samples by a baseline."""
        return BaselineSpec(
            baseline=baseline,
            fields=self.experiment.inputs,
            predicted=self._task.predicted(self.experiment.variables),
            window=self._window,
            train=self._splits.train,
            test=self._splits.test,
        )

    @property
    def _scoring(self) -> AnyScoring:
        regions = {name: region.box for name, region in self.experiment.regions.items()}
        return self._task.scoring(self.experiment.variables, regions)

    def evaluate(self, forecast: str) -> EvaluateSpec:
        """Scores of predictions; the spec is the same for all."""
        return EvaluateSpec(scoring=self._scoring)

    def report(self) -> ReportSpec:
        """The report."""
        own = self.experiment
        runs = [
            ReportedRun(
                label=f"{name}-seed{seed}",
                name=name,
                seed=seed,
                start=run.start,
                reference=any(method.trains_everything for method in run.methods),
            )
            for name, run in own.runs.items()
            for seed in own.seeds
        ]
        return ReportSpec(
            experiment=own.name,
            source=own.source.name,
            synthetic=own.source.synthetic,
            fields=own.inputs,
            scoring=self._scoring,
            window=self._window,
            baselines=own.baselines,
            runs=tuple(runs),
            test=self._splits.test,
            sections=self._task.report_sections,
            regions=own.regions,
        )
