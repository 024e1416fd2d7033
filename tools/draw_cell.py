"""Draws the cells of a genotype as SVG or PNG.

python tools/draw_cell.py runs/quickstart/genotype.json cell.svg --cell=1

Without --cell it draws the first cell of each type, normal and reduction, each into a file of its own whose name has
the type: cell_normal.svg, cell_reduction.svg.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

from hmnas_tf.console.paths import path_of
from hmnas_tf.drawing.cell_graph import draw_cell
from hmnas_tf.drawing.picture import as_png, as_svg
from hmnas_tf.drawing.theme import cell_type
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.storage import atomic

FLAGS = flags.FLAGS
flags.DEFINE_integer(
    "cell", None, "Index of the cell to draw; none draws the first one of each type.", lower_bound=0
)
_DPI = 150


def targets(genotype: Genotype, path: Path, cell: int | None) -> dict[Path, int]:
    """Returns which cell goes into which file.

    Raises:
        ValueError: if there is no such cell.
    """
    cells = len(genotype.cells)
    if cell is not None:
        if cell >= cells:
            raise ValueError(f"--cell={cell}: the genotype has the cells 0 to {cells - 1}.")
        return {path: cell}
    firsts: dict[str, int] = {}
    for plan in genotype.topology.plans:
        firsts.setdefault(cell_type(plan.reduction), plan.index)
    return {path.with_stem(f"{path.stem}_{kind}"): index for kind, index in firsts.items()}


def write(path: Path, genotype: Genotype, index: int) -> None:
    """Draws one cell into a file, as its suffix says."""
    cell = genotype.cells[index]
    figure = draw_cell(genotype.topology, cell, index=index)
    if path.suffix == ".png":
        atomic.write_bytes(path, as_png(figure, _DPI))
        return
    genes = [gene for _, gene in cell.edges()]
    words = f"edges: {len(genes)}, operations: {sum(len(gene.operations) for gene in genes)}"
    atomic.write_text(path, as_svg(figure, title=f"cell {index}", description=words, key=f"cell{index}"))


def main(argv: list[str]) -> None:
    """Reads, draws and says what was written."""
    if len(argv) != 3:
        raise ValueError("expected two arguments: genotype.json and the file to write, .svg or .png.")
    source, path = map(path_of, argv[1:])
    if path.suffix not in (".svg", ".png"):
        raise ValueError(f"{path}: expected a name that ends with .svg or .png.")
    try:
        genotype = Genotype.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    for target, index in targets(genotype, path, FLAGS.cell).items():
        write(target, genotype, index)
        print(target)


if __name__ == "__main__":
    try:
        app.run(main)
    except (ValueError, OSError) as error:
        print(f"draw_cell: {error}", file=sys.stderr)
        sys.exit(2)
