import os
import threading
import time
import tracemalloc
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from tests import small_data as small
from weatherpeft.artifacts import store
from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.batch import Batch, Samples
from weatherpeft.samples.frames import Sample, SampleFrames

JANUARY = small.period("2001-01-01", "2001-01-03")
FEBRUARY = small.period("2001-02-01", "2001-02-02")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("regridded")
    return [small.write_period(root, JANUARY), small.write_period(root, FEBRUARY, seed=1)]


def test_every_window_lies_inside_one_period(data):
    samples = Samples(SampleFrames(small.WINDOW, small.FIELDS, data, small.split(JANUARY, FEBRUARY)))
    # 3 and 2 days of 4 times; the first time of a period has no frame 6 hours before it in the period
    assert len(samples) == 11 + 7
    first = {np.datetime64("2001-01-01T00", "ns"), np.datetime64("2001-02-01T00", "ns")}
    assert not first & {sample.time for sample in samples.frames.samples}


def test_a_split_within_a_period_cuts_its_windows_there(data):
    later = small.period("2001-01-02", "2001-01-02")
    samples = Samples(SampleFrames(small.WINDOW, small.FIELDS, data, small.split(later)))
    assert [str(sample.time)[:13] for sample in samples.frames.samples] == [
        "2001-01-02T06",
        "2001-01-02T12",
        "2001-01-02T18",
    ]


def test_adjacent_stores_make_one_axis(tmp_path):
    one, two = small.period("2001-01-01", "2001-01-01"), small.period("2001-01-02", "2001-01-02")
    data = [small.write_period(tmp_path, one), small.write_period(tmp_path, two)]
    samples = Samples(
        SampleFrames(small.WINDOW, small.FIELDS, data, small.split(small.period("2001-01-01", "2001-01-02")))
    )
    assert np.datetime64("2001-01-02T00", "ns") in {sample.time for sample in samples.frames.samples}


def test_batch_holds_the_stored_values_and_the_interpolated_input(data):
    samples = Samples(SampleFrames(small.WINDOW, small.FIELDS, data, small.split(JANUARY)))
    batch = samples.batch([4, 2])
    fine = store.open_dataset(data[0] / f"{small.FINE.label}.zarr")
    coarse = store.open_dataset(data[0] / f"{small.COARSE.label}.zarr")
    for row, index in enumerate([4, 2]):
        time = samples.frames.samples[index].time
        assert np.datetime64(batch.times[row]) == time
        np.testing.assert_array_equal(
            batch.target.atmospheric["temperature"][row].numpy(), fine.temperature.sel(time=time).values
        )
        for frame, hours in enumerate((-6, 0)):
            stored = coarse["2m_temperature"].sel(time=time + np.timedelta64(hours, "h"))
            longitude = np.append(coarse.longitude.values, 360.0)
            wrapped = np.concatenate([stored.values, stored.values[:, :1]], axis=1)
            interpolate = RegularGridInterpolator((coarse.latitude.values[::-1], longitude), wrapped[::-1])
            inner = np.abs(small.FINE.latitude) <= coarse.latitude.values.max()
            points = np.stack(
                np.meshgrid(small.FINE.latitude[inner], small.FINE.longitude, indexing="ij"), -1
            )
            np.testing.assert_allclose(
                batch.inputs.surface["2m_temperature"][row, frame].numpy()[inner],
                interpolate(points),
                rtol=1e-5,
            )
    assert batch.inputs.atmospheric["temperature"].shape == (2, 2, 2, *small.FINE.shape)
    np.testing.assert_array_equal(batch.static["land_sea_mask"].numpy(), fine.land_sea_mask.values)
    assert batch.target.channels().shape == (2, 3, *small.FINE.shape)


def test_placeholders_are_constant_and_follow_the_measured_fields(data):
    fields = FieldSet(
        measured=small.VARIABLES, placeholders={"mean_sea_level_pressure": 1e5, "soil_type": 1.0}
    )
    batch = Samples(SampleFrames(small.WINDOW, fields, data, small.split(JANUARY))).batch([0])
    assert list(batch.inputs.surface) == ["2m_temperature", "mean_sea_level_pressure"]
    assert torch.all(batch.inputs.surface["mean_sea_level_pressure"] == 1e5)
    assert torch.all(batch.static["soil_type"] == 1)


def test_members_are_samples_of_their_own(tmp_path):
    data = [small.write_period(tmp_path, FEBRUARY, members=(0, 1, 2, 3))]
    samples = Samples(SampleFrames(small.WINDOW, small.FIELDS, data, small.split(FEBRUARY, members=(1, 3))))
    assert len(samples) == 7 * 2 and {sample.member for sample in samples.frames.samples} == {1, 3}
    fine = store.open_dataset(data[0] / f"{small.FINE.label}.zarr")
    index = next(i for i, sample in enumerate(samples.frames.samples) if sample.member == 3)
    np.testing.assert_array_equal(
        samples.batch([index]).target.surface["2m_temperature"][0].numpy(),
        fine["2m_temperature"].sel(member=3, time=samples.frames.samples[index].time).values,
    )


def test_order_depends_on_the_seed_alone_and_visits_everything_each_epoch(data):
    samples = Samples(SampleFrames(small.WINDOW, small.FIELDS, data, small.split(JANUARY)))
    count = len(samples)
    taken = list(islice(samples.order(3), 2 * count))
    assert taken == list(islice(samples.order(3), 2 * count))
    assert taken != list(islice(samples.order(4), 2 * count))
    assert sorted(taken[:count]) == sorted(taken[count:]) == list(range(count))
    assert taken[:count] != taken[count:]


def test_errors_name_what_is_missing(data):
    with pytest.raises(ValueError, match="20050101-20050101"):
        Samples(
            SampleFrames(
                small.WINDOW, small.FIELDS, data, small.split(small.period("2005-01-01", "2005-01-01"))
            )
        )
    lacking = FieldSet(measured=small.VARIABLES.model_copy(update={"surface": ("surface_pressure",)}))
    with pytest.raises(ValueError, match="surface_pressure is missing"):
        Samples(SampleFrames(small.WINDOW, lacking, data, small.split(JANUARY)))
    with pytest.raises(ValueError, match="is in another store too"):
        Samples(SampleFrames(small.WINDOW, small.FIELDS, [data[0], data[0]], small.split(JANUARY)))


def tensors(batch: Batch) -> list[torch.Tensor]:
    fields = (batch.inputs, batch.target)
    return [field for part in fields for field in (part.surface | part.atmospheric).values()]


def same(one: Batch, other: Batch) -> bool:
    return one.times == other.times and all(map(torch.equal, tensors(one), tensors(other)))


class TestBatches:
    def samples(self, data: list[Path]) -> Samples:
        return Samples(SampleFrames(small.WINDOW, small.FIELDS, data, small.split(JANUARY, FEBRUARY)))

    @pytest.mark.parametrize("world", [1, 2, 3, 6])
    def test_ranks_share_a_batch_without_overlap_or_loss(self, data: list[Path], world: int) -> None:
        samples = self.samples(data)
        parts = [samples.batches(5, 6, rank=rank, world=world) for rank in range(world)]
        taken = [moment for _ in range(6) for part in parts for moment in next(part).times]
        order = [samples.frames.samples[index].time for index in islice(samples.order(5), 36)]
        assert [np.datetime64(moment, "ns") for moment in taken] == order
        assert len(set(order[:18])) == len(set(order[18:])) == len(samples) == 18

    @pytest.mark.parametrize("start", [1, 4, 5, 9, 13])
    def test_resuming_anywhere_gives_the_same_bits(self, data: list[Path], start: int) -> None:
        samples = self.samples(data)
        whole = list(islice(samples.batches(7, 4, rank=1, world=2), 16))
        resumed = islice(self.samples(data).batches(7, 4, start, rank=1, world=2), 16 - start)
        assert all(map(same, whole[start:], resumed))
        assert not same(whole[0], whole[start])

    def test_order_can_start_anywhere(self, data: list[Path]) -> None:
        samples = self.samples(data)
        whole = list(islice(samples.order(2), 60))
        for start in (0, 1, 17, 18, 19, 36, 40):
            assert list(islice(samples.order(2, start), 60 - start)) == whole[start:]

    @pytest.mark.parametrize("ahead", [0, 1, 5])
    def test_reading_ahead_changes_nothing(self, data: list[Path], ahead: int) -> None:
        samples = self.samples(data)
        found = list(islice(samples.batches(3, 2, ahead=ahead), 12))
        order = samples.order(3)
        expected = [samples.batch(list(islice(order, 2))) for _ in range(12)]
        assert all(map(same, expected, found))

    def test_as_many_are_read_ahead_as_asked_for(
        self, data: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        samples, read = self.samples(data), []
        plain = samples.batch

        def recorded(indices: Sequence[int]) -> Batch:
            read.append(threading.current_thread().name)
            return plain(indices)

        monkeypatch.setattr(samples, "batch", recorded)
        batches = samples.batches(3, 2, ahead=3)
        for taken in (1, 2):
            next(batches)
            deadline = time.monotonic() + 30
            while len(read) < taken + 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.2)  # no more than that
            assert len(read) == taken + 3
        batches.close()
        assert all(name.startswith("batches") for name in read)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]

    def test_what_fails_in_the_background_is_raised(self, data: list[Path]) -> None:
        samples = self.samples(data)
        samples.frames.samples[next(samples.order(3))] = Sample(np.datetime64("2030-01-01T00", "ns"), None)
        with pytest.raises(ValueError, match="has no time 2029-12-31T18|has no time 2030-01-01T00"):
            next(samples.batches(3, 2))

    def test_ranks_that_cannot_share_are_refused(self, data: list[Path]) -> None:
        for size, rank, world in ((4, 0, 3), (4, 2, 2), (4, -1, 2)):
            with pytest.raises(ValueError, match=f"{size} samples cannot be shared evenly: rank {rank} of"):
                next(self.samples(data).batches(0, size, rank=rank, world=world))

    def test_memory_does_not_grow(self, data: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        one_time = 3 * 4 * small.FINE.shape[0] * small.FINE.shape[1]
        monkeypatch.setattr("weatherpeft.artifacts.fields._CACHE_BYTES", 3 * one_time)
        samples = self.samples(data)
        batches = samples.batches(0, 6)
        for _ in islice(batches, 6):
            pass
        tracemalloc.start()
        before, resident = tracemalloc.get_traced_memory()[0], resident_bytes()
        for _ in islice(batches, 150):
            pass
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        batches.close()
        # the 900 samples read are 16 MB
        assert after - before < 1e6 and resident_bytes() - resident < 8e6
        assert sum(map(sum_of_bytes, samples.frames._target._cache.values())) <= 3 * one_time


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def sum_of_bytes(fields: dict[str, np.ndarray]) -> int:
    return sum(field.nbytes for field in fields.values())
