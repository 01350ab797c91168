"""Train with a backbone of timm and weights from a file of your own: python examples/own_backbone.py [FOLDER]

The file is written here from random weights, in place of one that you have trained or downloaded. Its content is part
of what identifies a training. `model.backbone.weights` also takes a tag of timm (c3_in1k), which is downloaded, and
`installed` for tf_efficientnet_lite0, which comes with this package (`model=fcos_lite`).
"""

import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

import fcos

NAME = "lcnet_035"


def main(folder: Path, steps: int = 40) -> fcos.Training:
    """Write weights of a network of timm, and train a detector that begins from them."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "weights.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model(NAME, pretrained=False).state_dict(), weights)
    config = fcos.configure(
        schedule="finetune",
        changes={
            "model.backbone": {"name": f"timm/{NAME}", "norm": "frozen_bn", "weights": str(weights)},
            "data.synthetic": {"image_size": 64, "train_images": 64, "val_images": 16, "object_size": [12, 40]},
            "schedule.steps": steps,
            "schedule.warmup_steps": min(10, steps // 2),
        },
    )
    training = fcos.train(config, folder / "run")
    parameters = sum(each.numel() for each in training.detector.detector.backbone.parameters())
    print(f"{config.model.backbone.name}: {parameters / 1e6:.2f} M parameters, {training.step} steps")
    for note in training.notes:
        print(f"note: {note}")
    return training


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/own_backbone"))
