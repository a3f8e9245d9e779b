"""What an experiment will do: samples, jobs and parameters."""

from collections.abc import Iterator

from weatherpeft.artifacts.caches import cache_folder, remember, remembered
from weatherpeft.checks.methods import CACHE, model_key
from weatherpeft.checks.samples import counts
from weatherpeft.checks.weights import unfilled
from weatherpeft.config import Experiment
from weatherpeft.jobs import Jobs


def summary(experiment: Experiment) -> Iterator[str]:
    """Lines about an experiment that is valid."""
    found = counts(experiment, experiment.task)
    yield "samples: " + ", ".join(f"{count} {name}" for name, count in found.items())
    jobs = jobs_by_rule(Jobs(experiment))
    named = ", ".join(f"{count} {rule}" for rule, count in jobs.items())
    yield f"jobs: {sum(jobs.values())} from nothing on ({named})"
    sizes = _sizes(experiment)
    named = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
    yield f"parameters: {sum(sizes.values()):,} ({named})"


def _sizes(experiment: Experiment) -> dict[str, int]:
    """Parameters of the model's parts, remembered because importing torch takes seconds."""
    path = cache_folder(CACHE) / f"{model_key(experiment)}.json"
    if isinstance(found := remembered(path), dict):
        return found
    model = unfilled(experiment)
    parts = {"encoder": model.encoder, "backbone": model.backbone, "decoder": model.decoder}
    sizes = {name: sum(each.numel() for each in part.parameters()) for name, part in parts.items()}
    remember(path, sizes)
    return sizes


def jobs_by_rule(jobs: Jobs) -> dict[str, int]:
    """Number of jobs of each rule of the workflow where nothing is made yet, in the workflow's order."""
    own, task = jobs.experiment, jobs.experiment.task
    train, chosen = len(jobs.periods("train")), jobs.chosen_labels()
    packed = jobs.periods("train", "validation") if own.training_store == "int16" else []
    forecasts = len(jobs.regridded_forecasts())
    statistics = task.statistics == "statistics" or bool(own.pretraining)
    pretrained = {path for label in jobs.run_labels() for path in jobs.run_pretrained(label)}
    pretrained.update(jobs.pretrained() if "pretrained" in own.baselines else [])
    downloads = bool(own.checkpoint) and not isinstance(own.checkpoint, str) and bool(pretrained)
    found = {
        "download": len(jobs.periods()),
        "download_forecasts": forecasts if own.forecasts and own.forecasts.source else 0,
        "regrid": len(jobs.periods()),
        "regrid_forecasts": forecasts,
        "moments": train * statistics,
        "statistics": int(statistics),
        "series": train * len(jobs.climatology_path),
        "climatology": len(jobs.climatology_path),
        "pack": len(packed),
        "standardization": int(task.statistics == "standardization"),
        "efi": len(jobs.efi_path),
        "weights": int(downloads),
        "pretrain": len(jobs.pretraining_path()),
        "fisher": len(jobs.report_fisher()),
        "finetune": len(jobs.run_labels()) - len(chosen),
        "finetune_candidate": sum(len(jobs.candidates(label)) for label in chosen),
        "choose": len(chosen),
        "predict": len(jobs.run_labels()),
        "predict_pretrained": int("pretrained" in own.baselines),
        "baseline": len(jobs.baseline_labels()),
        "evaluate": len(jobs.forecast_labels()),
        "report": 1,
    }
    return {rule: count for rule, count in found.items() if count}
