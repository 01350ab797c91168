"""Gallery of sample detections: the same images, one column for each arm."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from analysis.reader.client import StoreError, list_pictures, read_artifact
from analysis.reader.sweep import Sweep, Trial

LONGEST_SIDE = 480
# More than any sample detection has; a file that claims more is not decoded.
MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class Gallery:
    """Sample detections. trials: arm -> the trial shown. images: image name -> arm -> data URI."""

    trials: Mapping[str, Trial]
    images: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...]


def build_gallery(sweep: Sweep, max_images: int = 4) -> Gallery:
    """Collect the pictures of one finished seed, the same seed for every arm where all have one."""
    trials = _choose_trials(sweep)
    paths = {arm: _list_pictures(sweep, trial) for arm, trial in trials.items()}
    names = _sort_by_arms({arm: [_image_name(path) for path in of_arm] for arm, of_arm in paths.items()})
    images: dict[str, dict[str, str]] = {}
    notes = [f"No sample detections of {arm} in the store." for arm, of_arm in paths.items() if not of_arm]
    for arm, of_arm in paths.items():
        for path in of_arm:
            if _image_name(path) not in names[:max_images]:
                continue
            content = read_artifact(sweep.uri, trials[arm].run_id, path)
            uri = None if content is None else encode_picture(content)
            if uri is None:
                notes.append(f"{path} of run {trials[arm].run_id} cannot be read as a picture.")
            else:
                images.setdefault(_image_name(path), {})[arm] = uri
    return Gallery(
        trials={arm: trial for arm, trial in trials.items() if paths[arm]},
        images={name: images[name] for name in names if name in images},
        notes=tuple(notes),
    )


def _list_pictures(sweep: Sweep, trial: Trial) -> list[str]:
    try:
        return list_pictures(sweep.uri, trial.run_id)
    except StoreError:
        # A note reports that there are none in the store.
        return []


def _image_name(path: str) -> str:
    return PurePosixPath(path).name


def _choose_trials(sweep: Sweep) -> dict[str, Trial]:
    """Return a finished trial for each arm, arms in the order of the experiment."""
    by_arm: dict[str, dict[int, Trial]] = {}
    for trial in sweep.finished:
        by_arm.setdefault(trial.arm, {})[trial.seed] = trial
    if not by_arm:
        return {}
    common = set.intersection(*(set(by_seed) for by_seed in by_arm.values()))
    arms = [arm for arm in sweep.experiment.arms if arm in by_arm]
    arms += [arm for arm in by_arm if arm not in arms]
    return {arm: by_arm[arm][min(common or by_arm[arm])] for arm in arms}


def _sort_by_arms(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the image names, those that most arms have first."""
    counts = {name: sum(name in other for other in names.values()) for of_arm in names.values() for name in of_arm}
    return sorted(counts, key=lambda name: (-counts[name], name))


def encode_picture(content: bytes, longest_side: int = LONGEST_SIDE) -> str | None:
    """Return a PNG as a data URI, scaled down to `longest_side` pixels; None where it cannot be read.

    It is decoded and encoded again, so that nothing but pixels enters the report.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            pixels = image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    pixels.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    pixels.save(buffer, format="PNG", optimize=True)
    return to_data_uri(buffer.getvalue(), "image/png")


def to_data_uri(content: bytes, media_type: str) -> str:
    """Return content as a base64 data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
