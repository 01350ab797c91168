"""What looks private in a text, and what does not."""

import gzip
import json
import struct
from pathlib import Path

import pytest

from analysis.publishing.neutral import Neutralizer, find_words, hide_texts, is_location
from analysis.publishing.private import HIDDEN_TEXT, find_private

HARMLESS = [
    '"val/AP": 0.5, "val/class_AP/disc": 0.25',
    "<td>a</td><br/><p>either/or, 1/2, and km/h</p>",
    "Mean ± sample standard deviation; p = 0.05/3",
    "https://arxiv.org/abs/1904.01355 and https://w3id.org/ro/crate/1.1/context",
    "started 2026-11-29 12:34:56 UTC, 0:12:03 long",
    "images are below a/b.png, ./c.png and ../d.png",
    "seeds 0, 1, 2; versions 2.15.0 and 1.26",
    "@media (prefers-color-scheme: dark) { a::before { color: #fff } }",
    "data.root, <data.root>/train.json and <folder>/log.txt",
    "127.0.0.1 and ::1 are every machine",
    'src="data:image/png;base64,AAAA/home/bob/tmp/etc=="',
    "experiment@seed and a@b",
    "opencv==4.9.0.80, ratio 3:/4 and one of: /, a / b",
    "2 x AMD EPYC 7763 64-Core Processor, Linux x86_64",
    "val/class_AP/token,0.5 and tokenizers==0.22.1, about ~3/4 of all tokens",
    '"token": null, password: <hidden>, the secret of it',
    "tasks-of-a-very-long-name-of-an-experiment and sk-learn",
    "data.root=<data.root>/train.json and data.root=&lt;data.root&gt;/train.json",
    "local files of a.locale and v1.localhost, zip-1-2-3-4",
    # Identities of arms in plan.json.
    f'"token": "{"a1" * 32}", "cls_token": "{"0f" * 32}"',
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_not_private_is_not_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(text)
    assert find_private(tmp_path, names=()) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("see /home/bob", "a home folder"),
        ("see ~/data", "a home folder"),
        ('"root": "/mnt/nas/data"', "an absolute path"),
        ("root=/srv/data", "an absolute path"),
        ("file:///x", "an absolute path"),
        ("\\\\\\\\server\\\\share", "an absolute path"),
        ("s3://bucket/key", "an address on a network"),
        ("https://intern.example.org/x", "an address on a network"),
        ("http://u:p@host", "an address with a password"),
        ("a.b@c.org", "an e-mail address"),
        ("node 192.168.0.7", "a network address"),
        ("the node 10.31.7.4.", "a network address"),
        ("ip=10.31.7.4", "a network address"),
        ("nas1:/home/alice/x", "a home folder"),
        ("nas1:/volume/x", "an absolute path"),
        ("C:/Users/bob/x", "a home folder"),
        ("D:/x", "an absolute path"),
        ("redis://:secret@db/0", "an address with a password"),
        ("redis://db/0", "an address on a network"),
        ("vault+x://db", "an address on a network"),
        ("see /données/x/a.png", "an absolute path"),
        ("see /My Disk/photos/a.png", "an absolute path"),
        ("/My Disk/a.png", "an absolute path"),
        ("see ~alice/data", "a home folder"),
        ("%2Fhome%2Falice%2Fdata", "a home folder"),
        ("data.root=../alice/coco", "a folder of data"),
        ("password=hunter2", "a password or a token"),
        ('"api_key": "abc123"', "a password or a token"),
        ("AWS_SECRET_ACCESS_KEY = abc/123", "a password or a token"),
        (f"token={'a1' * 32}", "a password or a token"),
        (f'"token": "{"a1" * 31}"', "a password or a token"),
        (f"token: hf_{'x1' * 12}", "a password or a token"),
        (f"with hf_{'x1' * 12}", "a password or a token"),
        (f"with ghp_{'x1' * 12}", "a password or a token"),
        (f"with AKIA{'X1' * 8}", "a password or a token"),
        ("the node ip-10-0-3-7 was lost", "the name of a machine"),
        ("at gpu07.c.lab.internal:80", "the name of a machine"),
        ("nas.local was away", "the name of a machine"),
    ],
)
def test_what_is_private_is_found_in_its_line(text: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(f"first\n{text}\n")
    findings = find_private(tmp_path, names=())
    assert kind in {finding.kind for finding in findings}
    assert {(finding.file, finding.line) for finding in findings} == {("notes.txt", 2)}


def test_a_path_on_a_later_line_of_a_json_text_is_found(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"a": 1, "notes": "one\n/home/bob\t/srv/x"}, indent=1))
    findings = find_private(tmp_path, names=())
    assert {(finding.line, finding.kind) for finding in findings} == {(3, "a home folder"), (3, "an absolute path")}


def test_what_was_to_be_hidden_is_found_in_contents_and_names(tmp_path: Path) -> None:
    folder = tmp_path / "exp_Lab_M"
    (folder / "detections").mkdir(parents=True)
    (folder / "detections" / "gauss-1.png").write_bytes(b"")
    (folder / "metadata.json").write_text(json.dumps({"name": "of Lübeck"}, ensure_ascii=True))
    (folder / "page.html").write_text("<p>Smith &amp; Co, and gaussian</p>")
    (folder / "points.csv").write_text("val/class_AP/gauss,1\n")
    (folder / "results.txt").write_text("turing-gauss.cluster\n")
    with gzip.open(folder / "annotations.json.gz", "wt") as stream:
        stream.write('{"file_name": "gauss/1.png"}')
    hidden = ("gauss", "Lübeck", "Smith & Co", "Lab M")
    findings = find_private(folder, names=(), hidden=hidden)
    assert {(finding.file, finding.line) for finding in findings if finding.kind == HIDDEN_TEXT} == {
        ("exp_Lab_M", 0),
        ("detections/gauss-1.png", 0),
        ("metadata.json", 1),
        ("page.html", 1),
        ("points.csv", 1),
        ("results.txt", 1),
        ("annotations.json.gz", 1),
    }
    # No part of a longer word.
    assert not [each for each in find_private(folder, names=(), hidden=("gaus", "aussian")) if each.kind == HIDDEN_TEXT]


def test_versions_of_four_parts_are_no_addresses_where_versions_stand(tmp_path: Path) -> None:
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "requirements.txt").write_text("nvidia-cublas==13.4.1.3\n")
    (tmp_path / "versions.json").write_text('{"opencv": "4.9.0.80"}')
    assert find_private(tmp_path, names=()) == []


def test_modules_of_a_network_are_no_machines(tmp_path: Path) -> None:
    header = json.dumps({"blocks.0.local.conv": {"dtype": "F32"}, "head.lan": {}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert find_private(tmp_path, names=()) == []
    assert [finding.kind for finding in find_private(tmp_path, names=("conv",))] == [
        "the name of the user or of the machine"
    ]


def test_names_are_found_as_words_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("annotated by ann\nann_1 and Ann\n")
    assert [finding.line for finding in find_private(tmp_path, names=("ann",))] == [1, 2]


def test_locations_are_replaced_by_their_keys_the_longest_first() -> None:
    params = [{"data.root": "/data", "data.cache_dir": "/data/cache/", "model.name": "fcos"}]
    neutral = Neutralizer(find_words(params, [{"fcos.folder": "/o/outputs/s/trials/ab"}], ["bob"]))
    text = "/data/cache/x and /data/train.json, val/data, /database, /o/outputs/s/trials/ab/log.txt of bob"
    assert neutral.clean_text(text) == (
        "<data.cache_dir>/x and <data.root>/train.json, val/data, /database, <folder>/log.txt of <hidden>"
    )
    assert neutral.clean_value({"a": ["/data", "/other/place", 7, None]}) == {"a": ["<data.root>", "<path>", 7, None]}
    assert neutral.replaced["<data.root>"] == 2
    assert hide_texts("ablation of bob", ["bob", ""]) == "ablation of <hidden>"


CODE = "is not that of the plan (digest ab, planned cd): its numbers would stand under the code and versions"


def test_machines_that_failures_name_are_replaced() -> None:
    failures = [
        f"on gpu07.lab.example the code of fcos/ {CODE}",
        f"on turing torch is 2.1+cpu, planned 2.2; the code of fcos/ {CODE}",
        "data.root=<data.root>: the data on 10.1.2.3 are not the data of the plan (digest ab, planned cd)",
        "data.root=<data.root>: on gpu-3.lab the bucket refuses: <data.root>/a: 403",
    ]
    tags = [{"fcos.failure": text} for text in failures]
    neutral = Neutralizer(find_words([], tags, []))
    assert [neutral.clean_text(text) for text in failures] == [
        f"on <node> the code of fcos/ {CODE}",
        f"on <node> torch is 2.1+cpu, planned 2.2; the code of fcos/ {CODE}",
        "data.root=<data.root>: the data on <node> are not the data of the plan (digest ab, planned cd)",
        "data.root=<data.root>: on <node> the bucket refuses: <data.root>/a: 403",
    ]
    # Elsewhere too, unless it may be a word or a number.
    text = "gpu07 and gpu07.lab.example, turing, 10 of 10.5, on and off"
    assert neutral.clean_text(text) == "<node> and <node>, turing, 10 of 10.5, on and off"
    assert neutral.replaced["<node>"] == 6


def test_a_machine_whose_name_may_be_that_of_an_arm_is_replaced_in_its_message_alone() -> None:
    failures = [f"on {node} the code of fcos/ {CODE}" for node in ("r50", "s1", "n-1", "gpu07")]
    neutral = Neutralizer(find_words([], [{"fcos.failure": text} for text in failures], []))
    assert {neutral.clean_text(text) for text in failures} == {f"on <node> the code of fcos/ {CODE}"}
    assert neutral.clean_text("r50 beside s1, n-1 and gpu07") == "r50 beside s1, <node> and <node>"


def test_locations_are_known_by_their_beginning() -> None:
    assert all(map(is_location, ("/x", "~/x", "C:\\x", "s3://b", "\\\\host\\x", "file:///x")))
    assert not any(map(is_location, ("x/y", "fcos", "a: b", "", "1:2")))


def test_folders_of_data_are_replaced_as_they_were_typed() -> None:
    neutral = Neutralizer(find_words([{"data.root": "/home/bob/work/data/bccd"}], [], []))
    typed = ["data=bccd", "data.root=data/bccd", "+data.cache_dir=../cache", "data.cache_dir=null", "x=1"]
    expected = ["data=bccd", "data.root=<data.root>", "+data.cache_dir=<data.cache_dir>", "data.cache_dir=null", "x=1"]
    assert neutral.clean_value(typed) == expected
    assert neutral.replaced == {"<data.root>": 1, "<data.cache_dir>": 1}
    assert neutral.clean_text("sweep.py 'data.root=bccd' (data.root=a:b); data.root=c/d: no such folder") == (
        "sweep.py 'data.root=<data.root>' (data.root=<data.root>); data.root=<data.root>: no such folder"
    )
    # What lies below a known one stays.
    assert neutral.clean_text("data.root=/home/bob/work/data/bccd/a.json") == "data.root=<data.root>/a.json"
