"""Commands on detectors and data sets: evaluate, predict, draw, compare, convert, inspect, import and export."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fcos.cli import (
    compare_presets,
    convert,
    draw,
    draw_augmentation,
    evaluate,
    evaluate_results,
    export,
    export_weights,
    import_weights,
    inspect,
    predict,
    score_iou,
    two_stage,
)
from fcos.errors import ConfigError, Transient, is_allocation_failure
from fcos.streams import exit_code_of_closed_output, flush_output, replace_unprintable_characters

# In the order of the help.
COMMANDS = (
    evaluate, evaluate_results, predict, draw, draw_augmentation, compare_presets, score_iou, two_stage,
    import_weights, export_weights, export, convert, inspect,
)  # fmt: skip

EPILOG = """examples:
  python -m fcos evaluate outputs/NAME/trials/ID
  python -m fcos evaluate s3://bucket/folder/NAME/trials/ID
  python -m fcos evaluate outputs/NAME/trials/ID --set model.postprocess.nms_threshold=0.5
  python -m fcos export outputs/NAME/trials/ID --onnx --output detector
  python -m fcos evaluate detector.onnx --latency 50 --threads 1
  python -m fcos evaluate-results outputs/NAME/trials/ID/evaluation/ARM
  python -m fcos evaluate-results detections.json annotations/instances_val2017.json
  python -m fcos predict outputs/NAME/trials/ID photos/ --output found/
  python -m fcos predict outputs/NAME/trials/ID clip.mp4 'photos/**/*.jpg' --output found/ --score 0.5 --batch 16
  python -m fcos draw outputs/NAME/trials/ID --image 000000000139.jpg --split val
  python -m fcos draw outputs/NAME/trials/ID --set model.assignment.center_sampling_radius=null
  python -m fcos draw-augmentation val2017/ --annotations annotations/instances_val2017.json
  python -m fcos compare-presets val2017/000000000139.jpg --annotations annotations/instances_val2017.json
  python -m fcos convert photos/ --output photos_coco/
  python -m fcos inspect photos/
  python -m fcos evaluate FCOS_R_50_1x.pth --set data.root=/data/coco
  python -m fcos evaluate FCOS_imprv_R_50_FPN_1x.pth --model official_improved --set data.root=/data/coco
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns 0 for success, 1 where some images failed and the others are done, 2 for a user's mistake or too little
    memory (one message), 130 for an interrupt, 141 for a closed output.
    """
    replace_unprintable_characters()
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    from fcos.cli.options import fetch_from_bucket
    from fcos.storage.checkpoint_folder import CheckpointError

    try:
        fetch_from_bucket(options)
        code = run(options)
        flush_output()
    except BrokenPipeError:
        return exit_code_of_closed_output("stopped: standard output was closed")
    except (ConfigError, CheckpointError, Transient, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_allocation_failure(error):
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        print(f"error: not enough memory ({reason[0]}); fewer images at a time may help", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    """Build the parser of all commands and their options."""
    # As a script of an installed wheel, or as a module.
    program = "fcos" if Path(sys.argv[0]).stem == "fcos" else "python -m fcos"
    parser = argparse.ArgumentParser(
        prog=program,
        description=__doc__,
        epilog=EPILOG.replace("python -m fcos", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
