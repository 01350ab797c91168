"""Exported files beside the detectors that they are made of: AP and latency by preset and format.

    python benchmarks/export.py [--folder FOLDER] [--only NAME ...] [--steps 200] [--runs 40] [--write]

Trains a small detector of each preset on drawn shapes where the folder does not hold it yet, exports it in every
format, evaluates each file by the same evaluator, and times all of them in turn on one core, one image at a time. The
last rows are ResNet-50 (model=torchvision) with random weights at 512x512, without AP. What the folder holds of the
same commit, steps and runs is not measured again; with uncommitted changes all but the trainings is. --write puts the
whole table into docs/export.md.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from all import machine
from detectors import build_pair, draw_batch, model_config
from inputs import CPU, draw_targets
from torch import Tensor

from analysis.formatting import join_words
from fcos.assignment.build import build_locate
from fcos.config.parse import parse, set_value
from fcos.config.presets import load_presets
from fcos.config.run import Config
from fcos.evaluation.detect import Inference, validate
from fcos.exported.file_detector import FileNetwork, evaluate_file, load_file_detector
from fcos.exported.latency import Latency, Timed, measure_latency
from fcos.exported.write_file import ExportOptions, export_detector
from fcos.inference import Trained, evaluate, load_trained, read_validation
from fcos.installation import ROOT, conf_folder
from fcos.model.local_weights import file_sha256
from fcos.postprocess.decode import Postprocess
from fcos.runtime import LocalRuntime
from fcos.training import checkpoint
from fcos.training_run import run
from orchestration.experiment.provenance import git_commit

DOCUMENT = Path(__file__).parent.parent / "docs" / "export.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
HEAD = "| detector | format | AP | p50 | p95 | times as fast | size | sha256 |\n|---|---|---|---|---|---|---|---|\n"
# Name of the last detector.
R50 = "R50"
# How many times as fast onnxruntime is to be on one core, with post-processing in the file, as eager inference.
GOAL = 1.3
# Of a forward pass, in bytes for each pixel; nothing is predicted here.
PIXEL_BYTES = 1.0


@dataclass(frozen=True)
class Row:
    """A format of a detector: its AP in 0..1, None for random weights, its latency, and the size of its file."""

    detector: str
    format: str
    ap: float | None
    latency: Latency
    megabytes: float

    def text(self, eager: Latency) -> str:
        """Return the row as a line of the table; `eager` is the latency of the detector itself."""
        ap = "–" if self.ap is None else f"{100 * self.ap:.2f}"
        latency = self.latency
        return (
            f"| {self.detector} | {self.format} | {ap} | {latency.p50_ms:.1f} ms | {latency.p95_ms:.1f} ms | "
            f"{eager.p50_ms / latency.p50_ms:.2f} | {self.megabytes:.1f} MB | `{latency.sha256[:12]}` |"
        )


def preset_values(name: str, steps: int, cache: Path) -> dict[str, Any]:
    """Return the configuration of a small detector with the choices of a preset, on drawn shapes."""
    folder = conf_folder()
    values: dict[str, Any] = {
        "model": load_presets()[name].model_dump(mode="json"),
        "data": yaml.safe_load((folder / "data" / "synthetic.yaml").read_text()),
        "schedule": yaml.safe_load((folder / "schedule" / "embedded.yaml").read_text()),
        "seed": 0,
    }
    small = yaml.safe_load((folder / "model" / "fcos_small.yaml").read_text())
    values["model"] |= {"backbone": small["backbone"], "weights": None}
    values["model"]["fpn"]["channels"] = small["fpn"]["channels"]
    values["model"]["head"] |= {key: small["head"][key] for key in ("num_convs", "gn_groups")}
    values = set_value(values, "data.cache_dir", str(cache))
    for split, images in (("train", 400), ("val", 100)):
        values = set_value(values, f"data.synthetic.{split}_images", images)
    for key in ("eval_every", "checkpoint_every", "steps"):
        values = set_value(values, f"schedule.{key}", steps)
    return set_value(values, "schedule.warmup_steps", steps // 4)


def train_preset(name: str, steps: int, folder: Path) -> Trained:
    """Train the small detector of a preset, or go on where its folder ends."""
    config = parse(Config, preset_values(name, steps, folder / "cache"))
    run(config, LocalRuntime(folder / name, CPU))
    return load_trained(folder / name, CPU, {})


def program_network(path: Path, trained: Trained) -> FileNetwork:
    """Return the head outputs of a .pt2 file that was written here."""
    # Small canvases have a single location on the coarsest level, which torch would refuse.
    module = torch.export.load(path).module(check_guards=False)
    model = trained.config.model
    has_quality = model.head.quality != "none"
    names = [*(f"logits_p{level}" for level in model.levels), "ltrb", *(["quality"] if has_quality else [])]

    def run_module(pixels: Tensor, sizes: Tensor) -> Mapping[str, Tensor]:
        return dict(zip(names, module(pixels.contiguous(), sizes), strict=True))

    return FileNetwork(run_module, model).eval()


def inference_of(trained: Trained) -> Inference:
    """Return the post-processing of a detector, in float32."""
    model = trained.config.model
    return Inference({"": Postprocess(model.postprocess, model.assignment.corners)}, build_locate(model), CPU, "fp32")


def rows_of(name: str, trained: Trained, folder: Path, batch: Any, runs: int) -> list[Row]:
    """Measure all formats of a detector; `batch` None takes a validation image, and measures AP."""
    measures_ap = batch is None
    paths = {}
    for label, options in (
        ("ONNX", ExportOptions("onnx")),
        ("ONNX --raw", ExportOptions("onnx", detects=False)),
        (".pt2", ExportOptions("pt2")),
    ):
        paths[label] = folder / f"{name} {label.replace('.', '').replace(' --', '_')}.{options.format}"
        export_detector(trained, paths[label], options, PIXEL_BYTES)
    # A file names no folder of this machine.
    cache = {"data.cache_dir": trained.config.data.cache_dir}
    files = {
        label: load_file_detector(path, cache, threads=1) for label, path in paths.items() if path.suffix == ".onnx"
    }
    network = program_network(paths[".pt2"], trained)
    as_program = replace(trained, detector=network)  # type: ignore[arg-type]
    eager = Timed.of(trained)
    subjects: list[Timed] = [eager, *(Timed.of(file) for file in files.values())]
    subjects.append(replace(Timed.of(as_program), sha256=file_sha256(paths[".pt2"])))
    labels = ["eager", *files, ".pt2"]
    aps: list[float | None] = [None] * len(labels)
    if measures_ap:
        _, batches = read_validation(trained, batch_size=1)
        batch = next(iter(batches))
        data, batches = read_validation(trained, batch_size=8)
        program = validate(network, batches, data.val.annotations, inference_of(trained), rank=0).metrics[""]
        aps = [
            evaluate(trained, batch_size=8)["val/AP"],
            *(evaluate_file(file, batch_size=8)["val/AP"] for file in files.values()),
            program["val/AP"],
        ]
    weights = sum(value.numel() * value.element_size() for value in trained.detector.state_dict().values())
    sizes = [weights, *(path.stat().st_size for path in paths.values())]
    latencies = measure_latency(subjects, batch, runs=runs)
    return [
        Row(name, label, ap, latency, size / 1e6)
        for label, ap, latency, size in zip(labels, aps, latencies, sizes, strict=True)
    ]


def resnet50(folder: Path) -> Trained:
    """Save model=torchvision with random weights that detect something (see inference.py), as a checkpoint."""
    values = preset_values("torchvision", 4, folder / "cache")
    values["model"] = model_config().model_dump(mode="json")
    config = parse(Config, values)
    _, detector = build_pair((512, 512), channels_last=True, device=CPU)
    layers: list[tuple[Any, float]] = [(detector.head.classification, -2.5), (detector.head.regression, 2.0)]
    with torch.no_grad():
        for layer, bias in layers:
            layer.bias.fill_(bias), layer.weight.mul_(10)
    classes = tuple(f"class {number}" for number in range(80))
    path = checkpoint.save(
        folder / R50, step=1, config=config.model_dump(mode="json"), classes=classes, model=detector, averages={},
        state={},
    )  # fmt: skip
    return Trained(detector.eval(), config, classes, 1, CPU, path)


def table(rows: Sequence[Row]) -> str:
    """Return the lines of all rows, each detector's first one its own eager inference."""
    eager = {row.detector: row.latency for row in rows if row.format == "eager"}
    return HEAD + "".join(f"{row.text(eager[row.detector])}\n" for row in rows)


def conditions(rows: Sequence[Row], code: str) -> str:
    """Return what was timed, by what and of which code, and for which detectors the goal is reached, in a line."""
    latencies = [row.latency for row in rows]
    canvases = _join(f"{latency.canvas[1]}x{latency.canvas[0]}" for latency in latencies)
    threads = _join(latency.threads for latency in latencies)
    eager = {row.detector: row.latency for row in rows if row.format == "eager"}
    times = {row.detector: eager[row.detector].p50_ms / row.latency.p50_ms for row in rows if row.format == "ONNX"}
    missed = [detector for detector, ratio in times.items() if ratio < GOAL]
    return (
        f"Batch {_join(latency.batch for latency in latencies)} of {canvases} pixels, threads: {threads}, device: "
        f"{_join(latency.device for latency in latencies)}, {_join(latency.runtime for latency in latencies)}, "
        f"{_join(latency.runs for latency in latencies)} warm runs, commit {code}. ONNX is at least {GOAL:g} times as "
        f"fast as eager (goal {GOAL:g}) for {len(times) - len(missed)} of {len(times)} detectors"
        f"{f', not for {_join(missed)}' if missed else ''}."
    )


def _join(values: Iterable[object]) -> str:
    """Join different values, each once, in their order."""
    return join_words(list(dict.fromkeys(map(str, values))))


def checkout_code() -> tuple[str, bool]:
    """Return the commit of this checkout in short, marked where it has changes, and whether it has none."""
    commit = git_commit(ROOT)
    is_clean = commit.dirty == "false"
    return commit.commit[:12] if is_clean else f"{commit.commit[:12]}-dirty", is_clean


def measured(name: str, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Return the rows of a detector; those in the folder of the same commit, steps and runs are not measured again."""
    code, is_clean = checkout_code()
    folder = folder / f"{code}_{options.steps}_steps_{options.runs}_runs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    if not path.exists() or not is_clean:
        if name == R50:
            *_, batch = draw_batch(1, (512, 512), draw_targets(7, 1, (512, 512)), CPU)
            rows = rows_of(name, resnet50(folder), folder, batch, max(5, options.runs // 4))
        else:
            rows = rows_of(name, train_preset(name, options.steps, folder), folder, None, options.runs)
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return [_row(each) for each in json.loads(path.read_text())]


def _row(values: dict[str, Any]) -> Row:
    latency = values["latency"]
    return Row(**{**values, "latency": Latency(**{**latency, "canvas": tuple(latency["canvas"])})})


def main() -> None:
    """Measure, print the table, and write it into the document with --write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep trainings, files and results there, and use what is there")
    names = [*load_presets(), R50]
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="NAME", help=f"presets, or {R50}")
    parser.add_argument("--steps", type=int, default=200, help="steps of each training")
    parser.add_argument("--runs", type=int, default=40, help="warm runs of each file")
    parser.add_argument("--write", action="store_true", help="put the table into docs/export.md")
    options = parser.parse_args()
    if options.write and set(options.only) != set(names):
        parser.error("--write puts the whole table into the document; leave out --only")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for name in options.only:
            rows += measured(name, folder, options)
            print(f"{name}: done", flush=True)
    text = f"{machine()}\n{conditions(rows, checkout_code()[0])}\n\n{table(rows)}"
    print(text)
    if options.write:
        before, rest = DOCUMENT.read_text().split(BEGIN)
        DOCUMENT.write_text(before + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
