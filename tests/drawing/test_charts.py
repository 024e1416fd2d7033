"""Histograms, curves and matrices show the numbers they are given, also when these are few."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from hmnas_tf.drawing.architecture_charts import edge_importance, inputs_per_node, operations_per_edge
from hmnas_tf.drawing.confusion import MOST_NUMBERS, confusion_matrix
from hmnas_tf.drawing.curves import errors, survivors
from hmnas_tf.drawing.heat_maps import edge_heat_map, operation_heat_map
from hmnas_tf.drawing.picture import as_png
from hmnas_tf.drawing.theme import DARKEST, INK, MUTED, SHADED


def bars(figure: Figure) -> dict[str, list[float]]:
    """Returns the heights of the bars of each series."""
    (axes,) = figure.axes
    return {c.get_label(): [bar.get_height() for bar in c] for c in axes.containers}


def lines(figure: Figure) -> dict[str, tuple[list, list]]:
    """Returns x and y of the curves by their gid."""
    curves = [line for axes in figure.axes for line in axes.get_lines() if line.get_gid()]
    return {line.get_gid(): (list(line.get_xdata()), list(line.get_ydata())) for line in curves}


def test_inputs_are_counted_over_the_cells_that_are_built(genotype):
    assert genotype.needed_cells() == (0, 1, 2, 3)
    # Two normal cells with a node of two inputs and one of three; two reduction cells with one of one and a dead one.
    assert bars(inputs_per_node(genotype)) == {"normal cells": [0, 0, 2, 2], "reduction cells": [2, 2, 0, 0]}


def test_edges_without_operations_count(genotype):
    # Of five edges, normal cells have one of one operation and four of two; reduction cells one of one.
    assert bars(operations_per_edge(genotype)) == {"normal cells": [0, 2, 8], "reduction cells": [8, 2, 0]}


def test_importance_is_the_mean_over_a_nodes_inputs_and_dead_nodes_have_none(genotype):
    (axes,) = edge_importance(genotype).axes
    found = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert found["normal cells"] == pytest.approx([0.5, 0.25])
    assert found["reduction cells"] == pytest.approx([0.5, np.nan], nan_ok=True)


def rows(*stages: tuple[str, int], every: int = 1) -> list[dict[str, str]]:
    return [
        {
            "stage": stage,
            "epoch": str(epoch),
            "error": f"{50 / epoch:.2f}",
            "test_error": f"{60 / epoch:.2f}" if epoch % every == 0 else "",
            "operations": f"{20 - epoch}" if stage == "mask search" else "",
            "edges": f"{10 - epoch}" if stage == "mask search" else "",
            "weight_density": f"{1 / epoch:.3f}" if stage == "mask search" else "",
        }
        for stage, epochs in stages
        for epoch in range(1, epochs + 1)
    ]


def titles(figure: Figure) -> list[str]:
    """Returns the names of the stages that are drawn."""
    return [axes.get_title(loc="left") for axes in figure.axes]


ALL = (("supernet training", 3), ("mask search", 2), ("fine-tuning", 4))


def test_errors_run_on_from_stage_to_stage():
    figure = errors(rows(*ALL))
    found = lines(figure)
    for stage, (start, epochs) in enumerate([(0, 3), (3, 2), (5, 4)]):
        for column, first in (("error", 50), ("test_error", 60)):
            x, y = found[f"{column}-{stage}"]
            assert x == [start + epoch for epoch in range(1, epochs + 1)]
            assert y == pytest.approx([first / epoch for epoch in range(1, epochs + 1)], abs=0.01)
        assert figure.axes[stage].get_xlim() == (start + 0.5, start + epochs + 0.5)
    assert titles(figure) == [stage for stage, _ in ALL]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["training error", "test error"]


def test_a_legend_is_seen_on_a_narrow_screen_before_it_scrolls(genotype, make_topology):
    ends = {stage: 1.0 for stage, _ in ALL}
    drawn = [draw(genotype) for draw in (inputs_per_node, operations_per_edge, edge_importance)]
    drawn += [errors(rows(*ALL), ends), edge_heat_map(np.ones((2, 5)), make_topology(nodes=2), title="")]
    for figure in drawn:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (legend,) = figure.legends
        assert 72 / figure.dpi * legend.get_window_extent().x1 < 380  # points, which are pixels there


def test_the_curve_of_a_stage_ends_in_the_error_that_the_table_has():
    figure = errors(rows(*ALL, every=2), {"supernet training": 7.0, "mask search": 8.0})
    found = lines(figure)
    assert found["end-0"] == ([3], [7.0])
    assert found["end-1"] == ([5], [8.0])
    assert "end-2" not in found, "it is not finished"
    assert found["test_error-0"] == ([2, 3], [30.0, 7.0]), "no point stands alone"
    assert found["test_error-1"] == ([5, 5], [30.0, 8.0])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][-1] == "test error of the stage's result"


@pytest.mark.parametrize("epochs", [(3, 2, 4), (50, 1, 600), (1, 300, 1)])
def test_names_of_stages_stand_in_a_row_and_apart(epochs):
    figure = errors(rows(*((stage, count) for (stage, _), count in zip(ALL, epochs, strict=True))))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [title.get_window_extent() for title in figure.findobj(Text) if title.get_text() in dict(ALL)]
    assert len(boxes) == len(ALL)
    assert len({round(box.y0) for box in boxes}) == 1
    for left, right in itertools.pairwise(boxes):
        assert left.x1 < right.x0
    assert boxes[-1].x1 <= canvas.get_width_height()[0]


def test_a_test_error_that_was_not_measured_is_left_out():
    found = lines(errors(rows(("supernet training", 4), every=2)))
    assert found["test_error-0"] == ([2, 4], [30.0, 15.0])
    assert "test_error-0" not in lines(errors(rows(("supernet training", 1), every=2)))


@pytest.mark.parametrize("given", [(), ALL[:1], ALL[1:2], (("fine-tuning", 1),)], ids=str)
def test_some_stages_or_one_row_or_none_can_be_drawn(given):
    for draw in (errors, survivors):
        figure = draw(rows(*given))
        assert as_png(figure, 40)
    if given:
        assert titles(errors(rows(*given))) == [name for name, _ in given]
    else:
        assert [text.get_text() for text in errors([]).axes[0].texts] == ["no epoch yet"]


def test_ticks_of_few_epochs_are_whole_numbers():
    figure = errors(rows(("fine-tuning", 1)))
    as_png(figure, 40)
    (axes,) = figure.axes
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_survivors_are_those_of_mask_search():
    found = lines(survivors(rows(*ALL)))
    assert found == {
        "operations": ([1, 2], [19.0, 18.0]),
        "edges": ([1, 2], [9.0, 8.0]),
        "weight_density": ([1, 2], [100.0, 50.0]),
    }
    (axes,) = survivors(rows(ALL[0])).axes
    assert [text.get_text() for text in axes.texts] == ["no epoch of mask search yet"]


def opacities(figure: Figure) -> np.ndarray:
    (image,) = figure.axes[0].images
    return np.asarray(image.get_array())[..., 3]


def test_operations_are_shaded_and_numbered_and_masked_ones_framed(make_topology):
    topology = make_topology(nodes=1, operations=("sep_conv_3x3", "identity"))
    values, gates = np.array([[0.25, 0.75], [0.5, 0.0]]), np.array([[1, 0], [1, 1]])
    figure = operation_heat_map(values, topology, gates=gates, title="cells 0, 1")
    (axes,) = figure.axes
    assert opacities(figure) == pytest.approx(DARKEST * values * gates / 0.5)
    assert [text.get_text() for text in axes.texts] == ["0.25", "0.75", "0.50", "0.00"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0→2", "1→2"]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(topology.operations)
    assert axes.get_title(loc="left") == "cells 0, 1"
    assert [text.get_color() for text in axes.texts] == [INK, MUTED, INK, INK]
    (frames,) = (c for c in axes.collections if c.get_gid() == "masked")
    (frame,) = frames.get_paths()
    (left, top), (right, bottom) = frame.vertices.min(axis=0), frame.vertices.max(axis=0)
    assert (left + right, top + bottom) == pytest.approx((2, 0))  # the middle: x is the operation, y the edge
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    number = axes.texts[1].get_window_extent()
    (x0, y0), (x1, y1) = np.sort(axes.transData.transform([(left, top), (right, bottom)]), axis=0)
    assert x0 < number.x0 < number.x1 < x1
    assert y0 < number.y0 < number.y1 < y1, "nothing is drawn through a number"
    (axes,) = operation_heat_map(values, topology, title="").axes
    assert not axes.collections


@pytest.mark.parametrize("epochs", [1, 5, 100])
def test_edges_are_shaded_by_epoch(epochs, make_topology):
    values = np.random.default_rng(0).random((epochs, 5))
    figure = edge_heat_map(values, make_topology(nodes=2), title="x")
    assert opacities(figure) == pytest.approx(values.T / values.max())
    upright = [line for line in figure.axes[0].get_lines() if line.get_xdata()[0] == line.get_xdata()[1]]
    assert len(upright) == (epochs - 1 if epochs < 60 else 0), "lines do not hide narrow cells"
    ticks = figure.axes[0].get_xticklabels()
    assert ticks[0].get_text() == "1"
    assert len(ticks) <= 12
    (right,) = figure.axes[0].child_axes
    assert [label.get_text() for label in right.get_yticklabels()] == [f"{value:.2f}" for value in values[-1]]
    (legend,) = figure.legends
    assert [patch.get_gid() for patch in legend.get_patches()] == [f"{SHADED}-{n}" for n in range(3)]
    assert [text.get_text() for text in legend.get_texts()] == [
        "0.00",
        f"{values.max() / 2:.2f}",
        f"{values.max():.2f}",
    ]


def test_importances_of_0_are_paper(make_topology):
    assert not opacities(edge_heat_map(np.zeros((2, 5)), make_topology(nodes=2), title="x")).any()


@pytest.mark.parametrize("classes", [2, MOST_NUMBERS, 100])
def test_confusion_is_legible_for_any_number_of_classes(classes):
    counts = np.eye(classes, dtype=int) * 6
    counts[0, 1] = 2
    counts[1, 1] = 0  # a class without images
    figure = confusion_matrix(counts, [f"class {i} of a long name that is cut" for i in range(classes)])
    (axes,) = figure.axes
    shares = opacities(figure) / DARKEST
    assert shares.max() == pytest.approx(1.0)
    highest = 0.75**0.5 if classes == 2 else 1.0
    assert shares[0, :2] == pytest.approx(np.sqrt([0.75, 0.25]) / highest)
    assert shares[1, 1] == 0
    numbers = [text.get_text() for text in axes.texts]
    assert sorted(numbers) == (sorted(["2"] + ["6"] * (classes - 1)) if classes <= MOST_NUMBERS else [])
    labels = axes.get_yticklabels()
    assert len(labels) == classes
    assert len({label.get_text() for label in labels}) == classes
    as_png(figure, 40)
    row = 72 * axes.get_position().height * figure.get_size_inches()[1] / classes
    assert 5.0 <= labels[0].get_fontsize() < row
    assert figure.get_size_inches().max() <= 12


def test_confusion_needs_a_name_for_every_class():
    with pytest.raises(ValueError, match="shape .2, 2., but there are 3 class names"):
        confusion_matrix(np.eye(2), ["a", "b", "c"])
