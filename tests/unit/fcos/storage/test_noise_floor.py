"""noise.json is read as it was written, and what is none is refused with the reason."""

from pathlib import Path

import pytest

from fcos.errors import DataError
from fcos.storage import noise_floor
from fcos.storage.noise_floor import MetricNoise, NoiseFloor, Spread, read_noise_floor

SPREAD = Spread(seeds=6, deviation=0.02, low=0.0125, high=0.049)
FLOOR = NoiseFloor(
    sweep="floor",
    run_id="r",
    metrics={"val/AP": MetricNoise(**SPREAD.model_dump(), mean=1 / 3, sources={"weights": SPREAD})},
    settings={"model.levels": [3, 4], "schedule.lr": None},
    data_digest="d",
)


def test_what_was_written_is_read_to_the_last_digit(tmp_path: Path) -> None:
    (tmp_path / "noise.json").write_text(FLOOR.to_json())
    assert read_noise_floor(tmp_path / "noise.json") == FLOOR


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON"),
        ("[]", "(Input should be an object)"),
        (FLOOR.to_json().replace('"format": 1', '"format": 2'), "format"),
        (FLOOR.to_json().replace('"deviation": 0.02', '"deviation": -0.02', 1), "metrics.val/AP.deviation"),
        (FLOOR.to_json().replace('"deviation": 0.02', '"deviation": NaN', 1), "metrics.val/AP.deviation"),
        (FLOOR.to_json().replace('"seeds": 6', '"seeds": 1', 1), "metrics.val/AP.seeds"),
    ],
)
def test_what_is_no_noise_floor_is_refused_with_file_and_reason(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "noise.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"noise\.json: is no noise floor") as raised:
        read_noise_floor(path)
    assert reason in str(raised.value)


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_floor, "MAX_BYTES", 100)
    (tmp_path / "noise.json").write_text(FLOOR.to_json())
    with pytest.raises(DataError, match="is larger than 100 bytes"):
        read_noise_floor(tmp_path / "noise.json")
