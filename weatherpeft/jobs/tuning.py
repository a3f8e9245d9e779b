"""Jobs on models: weights, trainings, predictions, scores and the report."""

import os

from weatherpeft.config_runs import Run
from weatherpeft.fields.regions import held_out
from weatherpeft.jobs.data import DataJobs
from weatherpeft.stages.baseline import Baseline, BaselineSpec
from weatherpeft.stages.choose import ChooseSpec
from weatherpeft.stages.evaluate import EvaluateSpec
from weatherpeft.stages.fisher import FisherSpec
from weatherpeft.stages.predict import PredictSpec
from weatherpeft.stages.pretrain import PretrainSpec
from weatherpeft.stages.report import ReportedRun, ReportSpec
from weatherpeft.stages.weights import WeightsSpec
from weatherpeft.training.model import FinetuneSpec, TunedModelSpec, Tuning
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
        """A run and its seed; a candidate has the first seed."""
        name, _, seed = label.rpartition("-seed")
        if not name:
            return self.experiment.runs[label.rpartition("-c")[0]], self.experiment.seeds[0]
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
        return [os.path.expanduser(str(own.checkpoint))]

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

    def _tunings(self, name: str, seed: int) -> tuple[Tuning, ...]:
        """What a run may be trained as: its candidates, or the only choice."""
        run = self.experiment.runs[name]
        return tuple(
            Tuning(
                model=TunedModelSpec(
                    backbone=self.experiment.backbone,
                    fields=self.experiment.inputs,
                    task=self.experiment.task,
                    methods=choice.methods,
                    pretrained=run.start == "pretrained",
                    seed=seed,
                ),
                learning_rate=choice.learning_rate,
            )
            for choice in run.choices
        )

    def _training(self, run: Run) -> Training:
        changes = run.model_dump(mode="json", include={"steps", "precision", "rollout"})
        changes = {name: value for name, value in changes.items() if value is not None}
        return Training.parse(self.experiment.training.model_dump(mode="json") | changes)

    def _finetune(self, run: Run, only: Tuning, candidates: tuple[Tuning, ...] = ()) -> FinetuneSpec:
        return FinetuneSpec(
            model=only.model,
            splits=self._splits,
            training=self._training(run),
            learning_rate=only.learning_rate,
            candidates=candidates,
            held_out=held_out(self.experiment.regions),
        )

    def finetune(self, run: str) -> FinetuneSpec:
        """A fine-tuning run; one with candidates follows the choice among them."""
        own, seed = self._run(run)
        tunings = self._tunings(run.rpartition("-seed")[0], seed)
        return self._finetune(own, tunings[0], tunings if own.candidates else ())

    # Candidates: each is trained with the first seed, and the choice among them is the run of this seed.

    def chosen_labels(self) -> list[str]:
        """Labels of the runs that are a choice among candidates."""
        seed = self.experiment.seeds[0]
        return [f"{name}-seed{seed}" for name, run in self.experiment.runs.items() if run.candidates]

    def candidates(self, run: str) -> list[str]:
        """The artifacts that the choice of a run is made among."""
        name, count = run.rpartition("-seed")[0], len(self._run(run)[0].candidates)
        return [self.paths.candidate.format(candidate=f"{name}-c{number}") for number in range(count)]

    def finetune_candidate(self, candidate: str) -> FinetuneSpec:
        """A candidate of a run."""
        name, _, number = candidate.rpartition("-c")
        tuning = self._tunings(name, self.experiment.seeds[0])[int(number)]
        spec = self._finetune(self.experiment.runs[name], tuning)
        return spec.model_copy(update={"is_candidate": True})

    def choose(self, run: str) -> ChooseSpec:
        """The choice among the candidates of a run."""
        name, count = run.rpartition("-seed")[0], len(self._run(run)[0].candidates)
        return ChooseSpec(
            candidates=tuple(self.finetune_candidate(f"{name}-c{number}") for number in range(count))
        )

    def choice(self, run: str) -> list[str]:
        """The choice that a run with another seed follows."""
        name = run.rpartition("-seed")[0]
        chosen = f"{name}-seed{self.experiment.seeds[0]}"
        return [self.paths.run.format(run=chosen)] if chosen in self.chosen_labels() and run != chosen else []

    def run_pretrained(self, run: str) -> list[str]:
        """The weights that a run starts from."""
        return self.pretrained(self._run(run)[0].start)

    def run_fisher(self, run: str) -> list[str]:
        """The Fisher store that a run reads."""
        choices = self._run(run)[0].choices
        needed = any(method.needs_fisher for choice in choices for method in choice.methods)
        return [self.paths.fisher] if needed else []

    def report_fisher(self) -> list[str]:
        """The Fisher store that the report compares selections with, if a run needs it anyway."""
        return sorted({path for label in self.run_labels() for path in self.run_fisher(label)})

    # Forecasts and scores.

    def predict(self, run: str) -> PredictSpec:
        """Predictions of the test samples by a run."""
        own, seed = self._run(run)
        tunings = self._tunings(run.rpartition("-seed")[0], seed)
        return PredictSpec(
            model=tunings[0].model,
            candidates=tunings if own.candidates else (),
            test=self._splits.test,
            precision=self._training(own).precision,
        )

    def predict_pretrained(self) -> PredictSpec:
        """Predictions of the test samples by the pretrained model."""
        own = self.experiment
        return PredictSpec(
            model=TunedModelSpec(
                backbone=own.backbone,
                fields=own.inputs,
                task=own.task,
                methods=(),
                pretrained=True,
                seed=own.seed,
            ),
            test=self._splits.test,
            precision=own.training.precision,
        )

    def baseline_labels(self) -> list[Baseline]:
        """Labels of the baselines without a network."""
        return [label for label in self.experiment.baselines if label != "pretrained"]

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
                candidates=run.varied,
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
            reference=own.reference,
        )
