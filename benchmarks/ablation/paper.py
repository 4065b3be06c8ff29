"""The rows of the paper's table 1 and the settings that repeat them at small scale.

Source: Lin et al., Focal Loss for Dense Object Detection, table 1 and section 5. AP is COCO AP in percent: minival at
600 pixels, ResNet-50 for a to c and ResNet-101 for d; test-dev for e. Table a is table 1a, the alpha of cross entropy.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row: what was changed, the setting that repeats it, and the AP in the paper; None where training diverged."""

    label: str
    setting: str
    paper: float | None


@dataclass(frozen=True)
class Table:
    """Rows that are compared with each other; `ordered` ones lie on an axis, from small to large."""

    letter: str
    title: str
    rows: tuple[Row, ...]
    ordered: bool = False


BASE = "recipe"

TABLES = (
    Table(
        "a",
        "Cross entropy, by the alpha of objects",
        (
            Row("no prior, 0.5", "a_no_prior", None),
            Row("0.10", "a_alpha_0.10", 0.0),
            Row("0.25", "a_alpha_0.25", 10.8),
            Row("0.50", "a_alpha_0.50", 30.2),
            Row("0.75", "a_alpha_0.75", 31.1),
            Row("0.90", "a_alpha_0.90", 30.8),
            Row("0.99", "a_alpha_0.99", 28.7),
            Row("0.999", "a_alpha_0.999", 25.1),
        ),
        ordered=True,
    ),
    Table(
        "b",
        "Focal loss, by gamma with its best alpha in the paper",
        (
            Row("0 (alpha 0.75)", "a_alpha_0.75", 31.1),
            Row("0.1 (0.75)", "b_gamma_0.1", 31.4),
            Row("0.2 (0.75)", "b_gamma_0.2", 31.9),
            Row("0.5 (0.50)", "b_gamma_0.5", 32.9),
            Row("1 (0.25)", "b_gamma_1", 33.7),
            Row("2 (0.25)", BASE, 34.0),
            Row("5 (0.25)", "b_gamma_5", 32.2),
        ),
        ordered=True,
    ),
    Table(
        "c",
        "Anchors of a cell, scales x ratios",
        (
            Row("1 x 1", "c_1x1", 30.3),
            Row("2 x 1", "c_2x1", 31.9),
            Row("3 x 1", "c_3x1", 31.8),
            Row("1 x 3", "c_1x3", 32.4),
            Row("2 x 3", "c_2x3", 34.2),
            Row("3 x 3", BASE, 34.0),
            Row("4 x 3", "c_4x3", 33.8),
        ),
    ),
    Table(
        "d",
        "Focal loss against online hard example mining, by its anchors and the IoU of its suppression",
        (
            Row("OHEM 128, 0.7", "d_ohem_128_0.7", 31.1),
            Row("OHEM 128, 0.5", "d_ohem_128_0.5", 32.8),
            Row("OHEM 512, 0.5", "d_ohem_512_0.5", 27.6),
            Row("OHEM 1 : 3, 128, 0.5", "d_ohem_1_3_128_0.5", 31.1),
            Row("focal loss", BASE, 36.0),
        ),
    ),
    Table(
        "e",
        "Size of the backbone and of the input; in the paper ResNet-50 and 101 at 400, 600 and 800 pixels",
        (
            Row("small, 96", "e_small_96", 30.5),
            Row("small, 192", "e_small_192", 34.3),
            Row("small, 288", "e_small_288", 35.7),
            Row("large, 96", "e_large_96", 31.9),
            Row("large, 192", "e_large_192", 36.0),
            Row("large, 288", "e_large_288", 37.8),
        ),
    ),
)
