"""The rows of `backbones.py` as two tables: the network and its files, and what can be made of them."""

from __future__ import annotations

import re
from typing import Any

Row = dict[str, Any]

FILES = ("backbone", "parameters, M", "multiply-adds, M", "float32 / int8, ms", "float32 / int8, MB", "int8", "16x8")
WAYS = ("backbone", "channels", "sparsity", "clusters", "QAT", "Edge TPU")


def backbone_table(rows: list[Row]) -> str:
    """Returns Markdown."""
    files = [[f"`{row['name']}`", *cells_of_files(row)] for row in rows]
    ways = [[f"`{row['name']}`", *cells_of_ways(row)] for row in rows]
    return "\n\n".join(markdown(head, cells) for head, cells in ((FILES, files), (WAYS, ways)))


def markdown(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """Returns one table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def cells_of_files(row: Row) -> list[str]:
    network, latency = row.get("network", {}), row.get("latency_ms")
    sizes = [row.get(kind, {}).get("bytes") for kind in ("float32", "int8")]
    return [
        f"{network['backbone_parameters'] / 1e6:.2f}",
        f"{network['backbone_multiply_adds_224'] / 1e6:.0f}",
        f"{latency['float32']:g} / {latency['int8']:g}" if latency else "not measured",
        " / ".join(f"{size / 1e6:.1f}" if size else "none" for size in sizes),
        heads_cell(row.get("agreement", {})),
        heads_cell(row.get("int16", {})),
    ]


def heads_cell(found: Row) -> str:
    if "refused" in found:
        return f"no: {reason(found['refused'])}"
    if not found:
        return "not measured"
    return f"{found['classes_correlation']:.3f}, {found['boxes_correlation']:.3f}"


def cells_of_ways(row: Row) -> list[str]:
    cells = []
    for way in ("channels", "sparsity", "clusters", "qat"):
        found = row.get(way)
        cells.append(
            "not measured" if found is None else f"no: {reason(found['refused'])}" if "refused" in found else "yes"
        )
    found = row.get("edge_tpu", {})
    if "operators" in found:
        names = sorted({text.split(":")[0] for text in found["refused"]})
        rest = f"; not {', '.join(names)}" if names else ""
        cells.append(f"{found['mapped']} of {found['operators']}{rest}")
    else:
        cells.append("not measured")
    return cells


def reason(message: str) -> str:
    """Returns what was received and, where that does not name the layer, the layer."""
    received = message.partition("Received: ")[2].split(". ")[0].rstrip(".") or message
    layer = re.search(r"layer '([^']+)'", message)
    told = received.replace("layer '", "'").replace("'", "`")
    return told if layer is None or layer[1] in told else f"`{layer[1]}`, {told}"
