"""Tables of FCOS v1 (arXiv 1904.01355v5, ICCV 2019)."""

from analysis.papers.notation import PaperTable

AP = "val/AP val/AP50 val/AP75 val/APs val/APm val/APl"
AR = "val/AR1 val/AR10 val/AR100"
TEST_AP = "test_dev/AP test_dev/AP50 test_dev/AP75 test_dev/APs test_dev/APm test_dev/APl"
MINIVAL = "COCO minival, R-50-FPN, 90k iterations"

TABLE1 = PaperTable(
    "table1",
    "Table 1",
    "COCO minival, best possible recall, no training",
    "coverage/bpr",
    """
    retinanet_none | RetinaNet, low-quality matches not used | 86.82
    retinanet_iou0_4 | RetinaNet, low-quality matches with IoU >= 0.4 | 90.92
    retinanet_all | RetinaNet, all low-quality matches | 99.23
    fcos_p4 | FCOS without FPN (P4 only) | 95.55
    fcos_fpn | FCOS with FPN | 98.40
    """,
)

TABLE2 = PaperTable(
    "table2",
    "Table 2",
    "COCO minival, share of positives that are ambiguous, no training",
    "coverage/ambiguous coverage/ambiguous_different",
    """
    no_fpn | without FPN | 23.16 17.84
    fpn | with FPN | 7.14 3.75
    """,
)

SECTION4_1_1 = PaperTable(
    "section4_1_1",
    "Section 4.1.1",
    "COCO minival, share of detected boxes that come from ambiguous locations",
    "val/ambiguous/detections val/ambiguous/detections_of_different_classes",
    """
    inference | at inference, with FPN | 2.3 1.5
    """,
)

TABLE3 = PaperTable(
    "table3",
    "Table 3",
    f"{MINIVAL}; each row from `center-ness on regression` on adds to the one above",
    f"{AP} {AR}",
    """
    retinanet_c5 | RetinaNet, C5, NMS 0.50 | 35.9 56.0 38.2 20.0 39.8 47.4 31.0 49.4 52.5
    fcos_c5_nms50 | FCOS, C5, NMS 0.50 | 36.3 54.8 38.7 20.5 39.8 47.8 31.5 50.6 53.5
    fcos_p5_nms50 | FCOS, P5, NMS 0.50 | 36.4 54.9 38.8 19.7 39.7 48.8 31.4 50.6 53.4
    fcos_p5_nms60 | FCOS, P5, NMS 0.60 | 36.5 54.5 39.2 19.8 40.0 48.9 31.3 51.2 54.5
    fcos_gn | FCOS, P5, GN, NMS 0.60 | 37.1 55.9 39.8 21.3 41.0 47.8 31.4 51.4 54.9
    ctr_on_regression | + center-ness on regression | 37.4 56.1 40.3 21.8 41.2 48.8 31.5 51.7 55.2
    center_sampling | + center sampling | 38.1 56.7 41.4 22.6 41.6 50.4 32.1 52.8 56.3
    giou | + GIoU | 38.3 57.1 41.0 21.9 42.4 49.5 32.0 52.9 56.5
    normalization | + normalization | 38.6 57.4 41.4 22.3 42.5 49.8 32.3 53.4 57.1
    """,
)

TABLE4 = PaperTable(
    "table4",
    "Table 4",
    f"{MINIVAL}, without center sampling",
    AP,
    """
    none | no center-ness | 33.5 52.6 35.2 20.8 38.5 42.6
    from_regression | center-ness from the predicted regression | 33.5 52.4 35.1 20.8 37.8 42.8
    branch | center-ness branch | 37.1 55.9 39.8 21.3 41.0 47.8
    """,
)

TABLE5 = PaperTable(
    "table5",
    "Table 5",
    "COCO test-dev, single model and scale",
    TEST_AP,
    """
    fcos_r101 | FCOS, R-101-FPN | 41.5 60.7 45.0 24.4 44.8 51.6
    fcos_hrnet_w32 | FCOS, HRNet-W32-5l | 42.0 60.4 45.3 25.4 45.0 51.0
    fcos_x101_32x8d | FCOS, X-101-32x8d-FPN | 42.7 62.2 46.1 26.0 45.6 52.6
    fcos_x101_64x4d | FCOS, X-101-64x4d-FPN | 43.2 62.8 46.6 26.5 46.2 53.3
    fcos_x101_64x4d_improved | FCOS with improvements, X-101-64x4d-FPN | 44.7 64.1 48.4 27.6 47.5 55.6
    faster_rcnn_fpn_r101 | Faster R-CNN with FPN, R-101 | 36.2
    faster_rcnn_g_rmi | Faster R-CNN by G-RMI | 34.7
    faster_rcnn_tdm | Faster R-CNN with TDM | 36.8
    yolov2 | YOLOv2 | 21.6
    ssd513 | SSD513 | 31.2
    dssd513 | DSSD513 | 33.2
    retinanet_r101 | RetinaNet, R-101-FPN | 39.1
    cornernet | CornerNet | 40.5
    fsaf_x101 | FSAF, X-101 | 42.9
    """,
)

TABLE6 = PaperTable(
    "table6",
    "Table 6",
    "COCO minival, R-50, class-agnostic proposals (RPN: about 200,000 samples; FCOS: about 66,000)",
    "val/proposals/AR100 val/proposals/AR1k",
    """
    rpn | RPN with FPN and GN | 44.7 56.9
    fcos_no_centerness | FCOS with GN, without center-ness | 48.0 59.3
    fcos | FCOS with GN | 52.8 60.3
    """,
)

TABLE7 = PaperTable(
    "table7",
    "Table 7",
    "COCO minival, class-agnostic detection",
    "val/class_agnostic/AP val/class_agnostic/AP50 val/class_agnostic/AP75 val/class_agnostic/AP90",
    """
    retinanet | original RetinaNet | 39.5 63.6 41.8 10.6
    retinanet_gn | RetinaNet with GN | 40.0 64.5 42.2 10.4
    fcos | FCOS | 40.5 64.7 42.6 13.1
    """,
)

TABLE8 = PaperTable(
    "table8",
    "Table 8",
    f"{MINIVAL}; each row from GN on adds to the one above",
    "val/AP",
    """
    retinanet_a1 | RetinaNet, 1 anchor, C5 | 32.5
    retinanet_a9 | RetinaNet, 9 anchors, C5 | 35.7
    fcos_c5 | FCOS (pure), C5 | 35.7
    fcos_p5 | FCOS, P5 | 35.8
    gn | + GN | 36.3
    scalar | + scalar | 36.4
    iou_loss | + IoU loss | 36.6
    """,
)

# Printed in the text of the first arXiv version only, and left out of all later ones.
ORACLE = PaperTable(
    "oracle",
    "Oracle",
    f"{MINIVAL}; only in the text of the first arXiv version (April 2019)",
    "val/AP",
    """
    branch | FCOS, predicted center-ness | 36.6
    gt_centerness | FCOS, ground-truth center-ness at inference | 42.1
    """,
)

TABLES = (TABLE1, TABLE2, SECTION4_1_1, TABLE3, TABLE4, ORACLE, TABLE5, TABLE6, TABLE7, TABLE8)
