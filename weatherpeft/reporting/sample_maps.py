"""Maps of one sample of the test split: input, target, predictions and their errors."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from weatherpeft.artifacts.fields import FieldReader
from weatherpeft.reporting.figures import Image
from weatherpeft.reporting.maps import maps, read_prediction
from weatherpeft.reporting.scores import Channel, featured
from weatherpeft.samples.frames import SampleFrames


def sample_maps(
    channels: Sequence[Channel],
    samples: SampleFrames,
    data: Sequence[Path],
    predictions: Mapping[str, Path],
) -> tuple[list[Image], str]:
    """Maps of the sample in the middle of the test split, at the first lead time.

    Args:
        channels: scored fields.
        samples: samples of the test split.
        data: artifacts of the regrid stage, for the coasts.
        predictions: artifacts of the predict stage by label of the run.

    Returns:
        An image for each field that is shown, and the caption of the images.
    """
    window, measured = samples.window, samples.fields.measured
    first_lead = [sample for sample in samples.samples if sample.lead_hours == window.target_hours[0]]
    sample = first_lead[len(first_lead) // 2]
    start, target = samples.inputs(sample)[-1], samples.target(sample)
    land = None
    if "land_sea_mask" in measured.static:
        land = FieldReader(data, window.target_grid, ()).static("land_sea_mask")
    images = []
    for channel in (channels[index] for index in featured(channels)):
        if channel.lead_hours not in (None, sample.lead_hours):
            continue
        predicted = {
            run: read_prediction(path, channel, sample.time, sample.lead_hours, sample.member)
            for run, path in predictions.items()
        }
        first = _field(channel, start, measured.levels_hpa)
        last = _field(channel, target, samples.target_variables.levels_hpa)
        images.append(maps(channel, window.target_grid, (samples.input_label, first), last, predicted, land))
    valid = sample.time + np.timedelta64(sample.lead_hours, "h")
    hour = np.datetime_as_string(valid, unit="m").replace("T", " ")
    text = f"The sample in the middle of the test split: target at {hour} UTC"
    text += f", member {sample.member}" if sample.member is not None else ""
    interpolated = window.input_grid != window.target_grid
    text += "; input interpolated bilinearly to the target's grid" if interpolated else ""
    text += ". Colors are shared between input, target and predictions, and between all errors."
    text += " Black lines are coasts (land-sea mask 0.5)." if land is not None else ""
    return images, text


def _field(channel: Channel, fields: dict[str, np.ndarray], levels_hpa: tuple[int, ...]) -> np.ndarray:
    if channel.level_hpa is None:
        return fields[channel.variable]
    return fields[channel.variable][levels_hpa.index(channel.level_hpa)]
