"""How the run went: errors, what survived, and alpha and beta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hmnas_tf.drawing.curves import errors, survivors
from hmnas_tf.drawing.heat_maps import edge_heat_map, operation_heat_map
from hmnas_tf.drawing.theme import cell_type
from hmnas_tf.reporting.architecture import named_cells, picture
from hmnas_tf.reporting.elements import Html, element, joined
from hmnas_tf.reporting.facts import Facts
from hmnas_tf.reporting.head import kept

MOST_GROUPS = 4  # of cells with an alpha and a beta of their own, that are drawn


def curves(facts: Facts) -> Html:
    """Returns the errors over all stages (Fig. 3) and what survived each epoch of mask search."""
    if not facts.rows:
        return Html()
    last = facts.rows[-1]
    parts = [
        picture(
            errors(facts.rows, _ends(facts)),
            title="Training and test error by epoch over all stages (the paper's Fig. 3); "
            "diamonds are the test errors of the table of stages",
            description=f"The last epoch, {last['epoch']} of {last['stage']}, has {last['error']} % training error.",
            key="errors",
        )
    ]
    masked = [row for row in facts.rows if row.get("operations")]
    if masked:
        first, last = masked[0], masked[-1]
        parts += [element("p", kept(facts))] if facts.genotype else []
        parts.append(
            picture(
                survivors(facts.rows),
                title="What the masks leave, by epoch of mask search; cells that share their masks count once",
                description=f"From {first['operations']} to {last['operations']} operations and from {first['edges']} "
                f"to {last['edges']} edges; {100 * float(last['weight_density']):.1f} % of the weights are left.",
                key="survivors",
            )
        )
    return joined(*parts)


def _ends(facts: Facts) -> dict[str, float]:
    """Returns the test errors of the table of stages by the titles of the curves."""
    return {
        stage.title: facts.stages[stage.key]["test_error"]
        for stage in facts.progress
        if stage.key in facts.stages
    }


def importances(facts: Facts) -> Html:
    """Returns alpha and beta of each group of cells as heat maps: the newest alpha, beta by epoch."""
    if not facts.history:
        return Html()
    newest = facts.history[-1]
    groups = newest["groups"]
    parts = [
        element(
            "p",
            f"After epoch {newest['epoch']} of {newest['stage']}. Each row is an edge, from node to node. The "
            "stronger the colour, the more important. What was masked has a dashed frame and no colour.",
        )
    ]
    for number in range(min(len(groups), MOST_GROUPS)):
        parts += _group(facts, number, groups[number])
    if len(groups) > MOST_GROUPS:
        parts.append(
            element("p", f"{len(groups) - MOST_GROUPS} more groups of cells are in architecture.jsonl.")
        )
    return joined(*parts)


def _group(facts: Facts, number: int, group: Mapping[str, Any]) -> Sequence[Html]:
    indices = group["cells"]
    kinds = {cell_type(facts.topology.plans[index].reduction) for index in indices}
    name = named_cells(indices)
    heading = f"{' and '.join(sorted(kinds))} {name}".capitalize()
    alpha, beta = f"Importance of operations (alpha), {name}", f"Importance of edges (beta) by epoch, {name}"
    yield element("h3", heading)
    yield picture(
        operation_heat_map(group["operation_importance"], facts.topology, gates=group["gates"], title=""),
        title=alpha,
        description="Rows are edges, columns are operations.",
        key=f"alpha-{number}",
    )
    searching = facts.history[0]["stage"]  # beta stands still in mask search
    by_epoch = [
        line["groups"][number]["edge_importance"] for line in facts.history if line["stage"] == searching
    ]
    if facts.config.edge_softmax != "none":
        yield picture(
            edge_heat_map(by_epoch, facts.topology, title=""),
            title=beta,
            description="Rows are edges, columns are epochs of supernet training.",
            key=f"beta-{number}",
        )
