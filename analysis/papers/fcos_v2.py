"""Tables of FCOS v2 (arXiv 2006.09214, IEEE TPAMI 44(4), 2022)."""

from analysis.papers.notation import PaperTable

AP = "val/AP val/AP50 val/AP75 val/APs val/APm val/APl"
AR = "val/AR1 val/AR10 val/AR100 val/ARs val/ARm val/ARl"
TEST_AP = "test_dev/AP test_dev/AP50 test_dev/AP75 test_dev/APs test_dev/APm test_dev/APl"
VAL2017 = "COCO val2017, R-50-FPN, 90k iterations, with center sampling"

TABLE1 = PaperTable(
    "table1",
    "Table 1",
    "COCO val2017, best possible recall, no training; FCOS with center sampling",
    "coverage/bpr",
    """
    retinanet_none | RetinaNet, no low-quality matches | 88.16
    retinanet_iou0_4 | RetinaNet, low-quality matches with IoU >= 0.4 | 91.94
    retinanet_all | RetinaNet, all low-quality matches | 99.32
    fcos_p4 | FCOS without FPN (P4 only) | 96.34
    fcos_fpn | FCOS with FPN | 98.95
    """,
)

# The last column is of the text below the table.
TABLE2 = PaperTable(
    "table2",
    "Table 2",
    "COCO val2017, share of positives with one, two, three or more boxes, no training",
    "coverage/claims_1 coverage/claims_2 coverage/claims_3plus coverage/ambiguous",
    """
    no_sampling_no_fpn | without center sampling, without FPN | 76.60 20.05 3.35 23.40
    no_sampling_fpn | without center sampling, with FPN | 92.58 6.97 0.45 7.42
    sampling_no_fpn | with center sampling, without FPN | 96.52 3.34 0.14 3.48
    sampling_fpn | with center sampling and FPN | 97.34 2.59 0.07 2.66
    """,
)

SECTION3_5 = PaperTable(
    "section3_5",
    "Section 3.5",
    "CrowdHuman val, share of positives with one, two, three boxes (below 0.3 %: more), no training",
    "coverage/claims_1 coverage/claims_2 coverage/claims_3",
    """
    crowdhuman | FCOS with FPN | 84.47 13.63 1.69
    """,
)

TABLE3 = PaperTable(
    "table3",
    "Table 3",
    f"{VAL2017} for FCOS; first row as in Detectron2; imprv.: GN, GIoU, scalars, P5 for C5, NMS 0.6",
    f"{AP} {AR}",
    """
    retinanet_a9 | RetinaNet #A=9 | 35.9 55.8 38.4 20.6 39.8 46.6 31.0 49.8 53.0 33.8 57.4 67.9
    retinanet_a1_imprv | RetinaNet #A=1, imprv. | 35.2 55.6 37.0 19.9 39.2 45.2 30.4 49.9 53.5 33.6 57.7 68.2
    retinanet_a9_imprv | RetinaNet #A=9, imprv. | 37.6 56.6 40.6 21.5 42.1 48.0 32.1 52.2 56.4 35.5 60.2 72.7
    fcos_no_centerness | FCOS, no center-ness | 38.0 57.2 40.9 21.5 42.4 49.1 32.1 52.4 56.2 36.6 60.6 71.9
    fcos | FCOS with center-ness | 38.9 57.5 42.2 23.1 42.7 50.2 32.4 53.8 57.5 38.5 62.1 72.9
    """,
)

TABLE4 = PaperTable(
    "table4",
    "Table 4",
    VAL2017,
    AP,
    """
    none | no center-ness | 38.0 57.2 40.9 21.5 42.4 49.1
    from_regression | center-ness from the predicted regression | 37.5 56.5 40.2 21.6 41.5 48.5
    branch_l1 | center-ness branch, L1 loss | 38.9 57.6 42.0 23.0 42.3 51.0
    branch | center-ness branch, BCE loss | 38.9 57.5 42.2 23.1 42.7 50.2
    """,
)

TABLE5 = PaperTable(
    "table5",
    "Table 5",
    VAL2017,
    AP,
    """
    baseline | baseline | 38.9 57.5 42.2 23.1 42.7 50.2
    without_gn | without GN | 37.9 56.4 40.9 22.1 41.8 48.8
    iou_loss | IoU loss, not GIoU | 38.6 57.2 41.9 22.4 42.1 49.8
    c5 | C5, not P5 | 38.5 57.4 41.7 22.8 42.1 49.3
    """,
)

TABLE6 = PaperTable(
    "table6",
    "Table 6",
    f"{VAL2017} of the given radius",
    AP,
    """
    radius_1_0 | radius r = 1.0 | 38.5 57.2 41.5 22.6 42.3 49.7
    radius_1_5 | radius r = 1.5 | 38.9 57.5 42.2 23.1 42.7 50.2
    radius_2_0 | radius r = 2.0 | 38.8 57.7 41.7 22.7 42.6 49.9
    """,
)

TABLE7 = PaperTable(
    "table7",
    "Table 7",
    VAL2017,
    AP,
    """
    fpn_rule | FPN's rule, k0 = 5 | 37.7 56.6 40.6 22.2 40.9 49.7
    sqrt_area | sqrt(h* w*) / 2 | 37.6 56.5 40.6 22.4 41.6 47.3
    longer_side | max(h*, w*) / 2 | 38.1 57.0 41.3 22.5 41.8 48.7
    longest_offset | max(l, t, r, b) | 38.9 57.5 42.2 23.1 42.7 50.2
    """,
)

TABLE8 = PaperTable(
    "table8",
    "Table 8",
    "COCO test-dev; TTA: shorter sides 400 to 1200 in steps of 100, each with its flip",
    TEST_AP,
    """
    r101 | FCOS, R-101-FPN | 43.2 62.4 46.8 26.1 46.2 52.8
    x101_32x8d | FCOS, X-101-32x8d-FPN | 44.1 63.7 47.9 27.4 46.8 53.7
    x101_64x4d | FCOS, X-101-64x4d-FPN | 44.8 64.4 48.5 27.7 47.4 55.0
    x101_32x8d_dcn | FCOS, X-101-32x8d-FPN with DCNv2 | 46.6 65.9 50.8 28.6 49.1 58.6
    r101_bifpn | FCOS, R-101-BiFPN | 45.0 63.6 48.7 27.0 47.9 55.9
    x101_32x8d_bifpn | FCOS, X-101-32x8d-BiFPN | 46.2 65.2 50.0 28.7 49.1 56.5
    x101_32x8d_bifpn_dcn | FCOS, X-101-32x8d-BiFPN with DCNv2 | 47.9 66.9 51.9 30.2 50.3 59.9
    tta_r101 | FCOS, R-101-FPN, TTA | 45.9 64.5 50.4 29.4 48.3 56.1
    tta_x101_32x8d | FCOS, X-101-32x8d-FPN, TTA | 47.0 66.0 51.6 30.7 49.4 57.1
    tta_x101_64x4d | FCOS, X-101-64x4d-FPN, TTA | 47.5 66.4 51.9 31.4 49.7 58.2
    tta_x101_32x8d_dcn | FCOS, X-101-32x8d-FPN with DCNv2, TTA | 49.1 68.0 53.9 31.7 51.6 61.0
    tta_r101_bifpn | FCOS, R-101-BiFPN, TTA | 47.9 65.9 52.5 31.0 50.7 59.7
    tta_x101_32x8d_bifpn | FCOS, X-101-32x8d-BiFPN, TTA | 49.0 67.4 53.6 32.0 51.7 60.5
    tta_x101_32x8d_bifpn_dcn | FCOS, X-101-32x8d-BiFPN with DCNv2, TTA | 50.4 68.9 55.0 33.2 53.0 62.7
    centernet511 | CenterNet511 | 44.9
    houghnet | HoughNet | 46.4
    cpn | CPN | 49.2
    yolov3_608 | YOLOv3-608 | 33.0
    retinanet | RetinaNet | 39.1
    cornernet | CornerNet | 40.5
    fsaf | FSAF | 42.9
    """,
)

TABLE9 = PaperTable(
    "table9",
    "Table 9",
    "real-time FCOS on one 1080 Ti or Titan XP, end to end",
    "speed/images_per_second val/AP test_dev/AP",
    """
    yolov3_darknet53 | YOLOv3, Darknet-53 | 26 - 33.0
    centernet_dla34 | CenterNet, DLA-34 | 52 37.4 37.3
    r50 | FCOS-RT, R-50 | 38 40.2 40.2
    dla34_bifpn | FCOS-RT, DLA-34-BiFPN | 43 42.1 42.2
    dla34 | FCOS-RT, DLA-34 | 46 40.3 40.3
    dla34_shared | FCOS-RT, DLA-34, shared towers | 52 39.1 39.2
    """,
)

TABLE10 = PaperTable(
    "table10",
    "Table 10",
    "CrowdHuman val, 30 epochs, batch 16, NMS 0.5, ties go to the closest center; MR-2: lower is better",
    "crowdhuman/AP crowdhuman/MR-2 crowdhuman/JI",
    """
    retinanet_improved | RetinaNet with improvements | 81.60 57.36 72.88
    fcos_no_centerness | FCOS without center-ness | 83.16 59.04 73.09
    fcos | FCOS with center-ness | 85.0 51.34 74.97
    mip | + MIP (K = 2) | 85.19 51.60 75.14
    set_nms | + Set NMS | 87.28 51.21 77.34
    """,
)

TABLES = (
    TABLE1, TABLE2, SECTION3_5, TABLE3, TABLE4, TABLE5, TABLE6, TABLE7, TABLE8, TABLE9, TABLE10,
)  # fmt: skip
