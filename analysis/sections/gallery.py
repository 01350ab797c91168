"""Sample detections side by side: the same images, one column for each arm."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from analysis.reader.client import list_pictures, read_artifact
from analysis.reader.sweep import Sweep

LONGEST_SIDE = 480
# Larger than any sample detection; what claims more pixels is not decoded.
MOST_PIXELS = 50_000_000


@dataclass(frozen=True)
class Gallery:
    """arms: name -> (seed, run id) shown. rows: image name -> data URI by arm."""

    arms: Mapping[str, tuple[int, str]]
    rows: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...]


def gallery(sweep: Sweep, most: int = 4) -> Gallery:
    """Pictures of one finished seed, the same for every arm where there is such a one."""
    shown = _trials_to_show(sweep)
    paths = {arm: list_pictures(sweep.uri, run_id) for arm, (_, run_id) in shown.items()}
    names = _common_first({arm: [PurePosixPath(path).name for path in found] for arm, found in paths.items()})
    rows: dict[str, dict[str, str]] = {}
    notes = [f"No sample detections of {arm} in the store." for arm, found in paths.items() if not found]
    for arm, found in paths.items():
        for path in found:
            name = PurePosixPath(path).name
            if name not in names[:most]:
                continue
            content = read_artifact(sweep.uri, shown[arm][1], path)
            uri = None if content is None else picture_uri(content)
            if uri is None:
                notes.append(f"{path} of run {shown[arm][1]} cannot be read as a picture.")
            else:
                rows.setdefault(name, {})[arm] = uri
    return Gallery(
        arms={arm: choice for arm, choice in shown.items() if paths[arm]},
        rows={name: rows[name] for name in names if name in rows},
        notes=tuple(notes),
    )


def _trials_to_show(sweep: Sweep) -> dict[str, tuple[int, str]]:
    finished = sweep.current[sweep.current["status"] == "FINISHED"]
    by_arm = {
        str(arm): dict(zip(group["seed"], group["run_id"], strict=True))
        for arm, group in finished.groupby("arm", sort=False)
    }
    if not by_arm:
        return {}
    common = set.intersection(*(set(seeds) for seeds in by_arm.values()))
    order = [arm for arm in sweep.experiment.arms if arm in by_arm]
    order += [arm for arm in by_arm if arm not in order]
    seed_of = {arm: min(common) if common else min(by_arm[arm]) for arm in order}
    return {arm: (int(seed_of[arm]), by_arm[arm][seed_of[arm]]) for arm in order}


def _common_first(names: Mapping[str, Sequence[str]]) -> list[str]:
    counts = {name: sum(name in found for found in names.values()) for found in names.values() for name in found}
    return sorted(counts, key=lambda name: (-counts[name], name))


def picture_uri(content: bytes, longest_side: int = LONGEST_SIDE) -> str | None:
    """A picture as a data URI, no side longer than so many pixels; None where it is no readable PNG.

    It is decoded and encoded again, so that nothing but pixels reaches the report.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            pixels = image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    pixels.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    pixels.save(buffer, format="PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
