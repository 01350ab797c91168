"""Tables of ATSS (arXiv 1912.02424, CVPR 2020), which sets out from RetinaNet and FCOS; AP alone."""

from analysis.papers.notation import PaperTable

MINIVAL = "COCO minival, R-50-FPN, 90k iterations"

TABLE1 = PaperTable(
    "table1",
    "Table 1",
    MINIVAL,
    "val/AP",
    """
    retinanet | RetinaNet, one anchor | 32.5
    retinanet_improved | RetinaNet, one anchor, with GN, GIoU, in-box positives, center-ness, scalars | 37.0
    fcos | FCOS with all of these | 37.8
    """,
)

TABLE2 = PaperTable(
    "table2",
    "Table 2",
    MINIVAL,
    "val/AP",
    """
    iou_box | positives by IoU, regression from the box | 37.0
    iou_point | positives by IoU, regression from the point | 36.9
    place_box | positives by spatial and scale constraint, regression from the box | 37.8
    place_point | positives by spatial and scale constraint, regression from the point | 37.8
    """,
)

TABLE3 = PaperTable(
    "table3",
    "Table 3",
    MINIVAL,
    "val/AP",
    """
    retinanet | RetinaNet, one anchor | 37.0
    retinanet_atss | RetinaNet, one anchor, with ATSS | 39.3
    fcos | FCOS | 37.8
    fcos_center_sampling | FCOS with center sampling | 38.6
    fcos_atss | FCOS with ATSS | 39.2
    """,
)

TABLE4 = PaperTable(
    "table4",
    "Table 4",
    f"{MINIVAL}, RetinaNet with one anchor and ATSS",
    "val/AP",
    """
    k_3 | k = 3 | 38.0
    k_5 | k = 5 | 38.8
    k_7 | k = 7 | 39.1
    k_9 | k = 9 | 39.3
    k_11 | k = 11 | 39.1
    k_13 | k = 13 | 39.0
    k_15 | k = 15 | 39.1
    k_17 | k = 17 | 39.2
    k_19 | k = 19 | 38.9
    """,
)

TABLES = (TABLE1, TABLE2, TABLE3, TABLE4)
