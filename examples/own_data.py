"""Train on images of your own: python examples/own_data.py [FOLDER]

Writes a small data set in COCO's format, as a program of yours would from its own annotations; a folder that a
labelling tool wrote needs none of this: `fcos.convert`, or `data=auto` on the command line.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import fcos

SIDE = 96
# Keys of a split -> what follows its name in those of its file and its folder.
FILES = (("annotations", ".json"), ("images", ""))


def write_split(folder: Path, name: str, images: int, seed: int) -> None:
    """Write images of one bright square or disk each, and their boxes as x, y, width, height."""
    chance = np.random.default_rng(seed)
    content: dict[str, list[dict[str, object]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "disk"}],
    }
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(1, images + 1):
        image = Image.fromarray(chance.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8))
        side, category = int(chance.integers(16, 48)), 1 + number % 2
        x, y = (int(each) for each in chance.integers(0, SIDE - side, 2))
        pen, corners = ImageDraw.Draw(image), (x, y, x + side - 1, y + side - 1)
        (pen.rectangle if category == 1 else pen.ellipse)(corners, fill=(230, 200, 40))
        image.save(folder / name / f"{number}.png")
        content["images"].append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        box = {"bbox": [x, y, side, side], "area": side * side, "iscrowd": 0}
        content["annotations"].append({"id": number, "image_id": number, "category_id": category, **box})
    (folder / f"{name}.json").write_text(json.dumps(content))


def main(folder: Path, steps: int = 150) -> fcos.Training:
    """Write the data, train on them and detect on one of the images."""
    data = folder / "data"
    write_split(data, "train", 200, seed=0)
    write_split(data, "val", 40, seed=1)
    for finding in fcos.inspect(data).findings:
        print(f"{finding.severity}: {finding.headline}")
    changes = {"data.root": str(data), "data.short_sides": [SIDE], "data.long_side": SIDE, "data.num_workers": 0}
    changes |= {f"data.{split}.{key}": f"{split}{end}" for split in ("train", "val") for key, end in FILES}
    changes |= {"schedule.steps": steps, "schedule.warmup_steps": steps // 2}
    training = fcos.train(fcos.configure(data="coco", changes=changes), folder / "run")
    print(f"AP {training.metrics['val/AP']:.2f} after {training.step} steps")
    [prediction] = fcos.predict(training.detector, data / "val" / "1.png", score=0.05)
    fcos.draw(prediction, score=0.05).save(folder / "detections.png")
    print(f"{prediction.name}: {', '.join(prediction.names[:3]) or 'nothing'}; drawn in {folder / 'detections.png'}")
    return training


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/own_data"))
