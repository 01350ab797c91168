"""Digits of the papers' rows, checked by hand against the printed tables."""

import pytest

from analysis.formatting import format_number
from analysis.papers.rows import ROWS, UnknownRowError, get_row, group_rows_by_source


@pytest.mark.parametrize(
    ("row_id", "metric", "printed"),
    [
        ("v1.table1.fcos_fpn", "coverage/bpr", "98.40"),
        ("v1.table2.no_fpn", "coverage/ambiguous_different", "17.84"),
        ("v1.table3.retinanet_c5", "val/AR100", "52.5"),
        ("v1.table3.normalization", "val/AP", "38.6"),
        ("v1.table4.none", "val/AP", "33.5"),
        ("v1.table4.from_regression", "val/APm", "37.8"),
        ("v1.table4.branch", "val/AP75", "39.8"),
        ("v1.oracle.gt_centerness", "val/AP", "42.1"),
        ("v1.table5.fcos_x101_64x4d_improved", "test_dev/APl", "55.6"),
        ("v1.table6.fcos", "val/proposals/AR1k", "60.3"),
        ("v1.table7.fcos", "val/class_agnostic/AP90", "13.1"),
        ("v1.table8.iou_loss", "val/AP", "36.6"),
        ("v2.table1.retinanet_none", "coverage/bpr", "88.16"),
        ("v2.table3.fcos", "val/ARl", "72.9"),
        ("v2.table4.none", "val/AP", "38.0"),
        ("v2.table4.from_regression", "val/AP", "37.5"),
        ("v2.table4.branch_l1", "val/APl", "51.0"),
        ("v2.table4.branch", "val/AP", "38.9"),
        ("v2.table5.c5", "val/AP", "38.5"),
        ("v2.table6.radius_2_0", "val/AP50", "57.7"),
        ("v2.table7.fpn_rule", "val/AP", "37.7"),
        ("v2.table8.tta_x101_32x8d_bifpn_dcn", "test_dev/AP", "50.4"),
        ("v2.table9.yolov3_darknet53", "test_dev/AP", "33.0"),
        ("v2.table10.set_nms", "crowdhuman/MR-2", "51.2"),
        ("atss.table2.iou_point", "val/AP", "36.9"),
        ("atss.table3.fcos_atss", "val/AP", "39.2"),
        ("atss.table4.k_19", "val/AP", "38.9"),
    ],
)
def test_a_row_has_the_papers_digits(row_id: str, metric: str, printed: str) -> None:
    assert format_number(get_row(row_id).metrics[metric], metric) == printed


def test_two_decimals_are_kept_as_printed() -> None:
    assert get_row("v1.table1.retinanet_none").metrics["coverage/bpr"] == 0.8682
    assert get_row("v2.table2.sampling_fpn").metrics["coverage/ambiguous"] == 0.0266


def test_a_speed_is_not_a_percentage() -> None:
    assert get_row("v2.table9.dla34_shared").metrics["speed/images_per_second"] == 52.0


def test_an_empty_cell_is_left_out() -> None:
    assert "val/AP" not in get_row("v2.table9.yolov3_darknet53").metrics
    assert list(get_row("v1.table5.ssd513").metrics) == ["test_dev/AP"]


def test_every_row_has_version_table_label_setting_and_metrics() -> None:
    assert len(ROWS) == 132
    for row_id, entry in ROWS.items():
        assert row_id.startswith(f"{entry.version}.{entry.table.lower().replace(' ', '').replace('.', '_')}.")
        assert entry.paper == {"v1": "1904.01355", "v2": "2006.09214", "atss": "1912.02424"}[entry.version]
        assert entry.label
        assert entry.setting
        assert entry.metrics


def test_percentages_are_fractions() -> None:
    for entry in ROWS.values():
        for key, value in entry.metrics.items():
            assert key.startswith("speed/") or 0 < value < 1, (entry.id, key)


@pytest.mark.parametrize("row_ids", [("v1.table3.fcos_gn", "v1.table4.branch"), ("v2.table3.fcos", "v2.table4.branch")])
def test_rows_printed_in_two_tables_agree(row_ids: tuple[str, str]) -> None:
    first, second = (get_row(row_id) for row_id in row_ids)
    for key in second.metrics:
        assert first.metrics[key] == second.metrics[key]


def test_a_misspelt_row_gets_near_matches() -> None:
    with pytest.raises(UnknownRowError, match=r"'v1.table4.brnch'; did you mean v1.table4.branch"):
        get_row("v1.table4.brnch")


def test_an_arm_has_the_first_row_of_each_source() -> None:
    branch = ["v1.table4.branch", "v2.table4.branch", "v1.table4.none", "v1.table4.brnch"]
    rows, notes = group_rows_by_source({"branch": branch, "none": ["v1.table4.none"], "own": []})
    assert rows == {
        "branch": {"v1 Table 4": get_row("v1.table4.branch"), "v2 Table 4": get_row("v2.table4.branch")},
        "none": {"v1 Table 4": get_row("v1.table4.none")},
    }
    assert notes[1] == "Arm branch names two rows of v1 Table 4; v1.table4.branch is shown, v1.table4.none is not."
    assert notes[0].startswith("Arm branch: the papers' tables have no row 'v1.table4.brnch'")
