"""Mask search on a smaller graph has the same numbers; when it is built follows from a bound on Adam's steps."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers.activity import ACTIVE, GONE, RESTING
from hmnas_tf.networks.counting import supernet_multiply_adds
from hmnas_tf.settings.paper import MASK_INITIAL, MASK_THRESHOLD
from hmnas_tf.space.topology import edges_from
from hmnas_tf.stages import learning_rates
from hmnas_tf.stages.fit import fit
from hmnas_tf.stages.mask_search import MaskSearch
from hmnas_tf.stages.shrinking import Shrinking, largest_steps, possible_gates
from hmnas_tf.stages.stage import gradients

OPERATIONS = ("sep_conv_3x3", "dil_conv_5x5", "max_pool_3x3", "identity")
FALLEN = -1.0  # a real mask that cannot come back
RATE = 1e-3


def constant(rate: float = RATE):
    return learning_rates.dropped(rate, 10**6, 1.0, 1.0)


def make_search(supernet, rate, price=0.0):
    return MaskSearch(
        supernet,
        weight_mask_optimizer=keras.optimizers.Adam(RATE),
        architecture_mask_optimizer=keras.optimizers.Adam(rate),
        operation_price=price,
    )


# Which rows of masks have fallen: 5 edges (0 2, 1 2, 0 3, 1 3, 2 3) of 4 operations.
def half(operations, edges):
    operations[::2, ::2] = operations[1::2, 1::2] = FALLEN


def edge(operations, edges):
    edges[[1, 4]] = FALLEN


def node(operations, edges):
    operations[0], edges[1] = FALLEN, FALLEN


def everything(operations, edges):
    operations[:], edges[:] = FALLEN, FALLEN


@pytest.mark.parametrize("state", [RESTING, GONE])
@pytest.mark.parametrize(
    ("fallen", "settings"),
    [
        (half, {"cell_sharing": "cell"}),
        (half, {"renormalize": True}),
        (edge, {"affine": True}),
        (node, {"edge_softmax": "dag"}),
        (everything, {"cell_sharing": "all"}),
    ],
)
def test_the_gradients_of_all_that_can_move_stay(fallen, settings, state, make_supernet, make_batch):
    supernet = make_supernet(operations=OPERATIONS, cells=3, **settings)
    random = np.random.default_rng(0)
    for mask in supernet.weight_masks:
        mask.assign(np.where(random.random(mask.shape) < 0.8, MASK_INITIAL, 0.0))
    for encoding in supernet.encodings:
        values = [mask.numpy() for mask in encoding.real_masks]
        fallen(*values)
        for mask, value in zip(encoding.real_masks, values, strict=True):
            mask.assign(value)
    search, batch = make_search(supernet, RATE), make_batch(0)
    possible = [possible_gates(encoding, 0.0) for encoding in supernet.encodings]
    gates = [np.asarray(encoding.gates()) > 0 for encoding in supernet.encodings]
    assert all((p >= g).all() for p, g in zip(possible, gates, strict=True))
    assert all(1 <= p.sum() < p.size for p in possible)
    variables = [*supernet.weight_masks, *supernet.architecture_masks]
    results = []
    for tables in (None, [np.where(p, ACTIVE, state) for p in possible]):
        supernet.set_activity(tables)
        loss, found, _ = gradients(lambda: search.loss_and_logits(*batch), variables)
        results.append((float(loss), [gradient.numpy() for gradient in found]))
    (loss, full), (same_loss, found) = results
    assert same_loss == pytest.approx(loss, rel=1e-6)
    movable = [np.ones(mask.shape, bool) for mask in supernet.weight_masks]
    for gate in possible:
        movable += [gate, gate.any(axis=1)] if state == GONE else [gate | True, gate.any(axis=1) | True]
    for whole, part, moves in zip(full, found, movable, strict=True):
        np.testing.assert_allclose(
            part[moves], whole[moves], rtol=1e-3, atol=1e-6 + 1e-5 * np.abs(whole).max()
        )
    assert sum((np.abs(whole) > 1e-4).sum() for whole in full) > 100


def kernels_run(search, batch) -> int:
    """Returns how many convolutions and pools run with their gradients: those of functions once for each call."""
    step = tf.function(search.train_step, autograph=False).get_concrete_function(batch)
    functions = {f.signature.name: f for f in step.graph.as_graph_def().library.function}

    def count(function) -> int:
        return sum(
            count(functions[node.attr["f"].func.name])
            if "f" in node.attr
            else "Conv" in node.op or "Pool" in node.op
            for node in needed(function)
        )

    return count(step.function_def)


def needed(function) -> list:
    """Returns the nodes of which the results of a function, or its control outputs, are computed."""
    nodes = {node.name: node for node in function.node_def}
    waiting, found = [*function.ret.values(), *function.control_ret.values()], {}
    while waiting:
        name = waiting.pop().lstrip("^").split(":")[0]
        if name in nodes and name not in found:
            found[name] = nodes[name]
            waiting += nodes[name].input
    return list(found.values())


@pytest.mark.parametrize("operations", [OPERATIONS[:2], OPERATIONS[2:]], ids=["of each edge", "shared"])
def test_each_state_makes_the_graph_smaller(operations, make_supernet, make_batch):
    supernet, nodes = make_supernet(operations=operations), []
    search = make_search(supernet, RATE)
    for state in (ACTIVE, RESTING, GONE):
        table = np.full((5, 2), ACTIVE)
        table[:4, 0] = state  # on all edges from inputs, or what they share could not rest
        supernet.set_activity([table])
        nodes.append(kernels_run(search, make_batch(0)))
    assert nodes[2] < nodes[1] < nodes[0]


def repeated(make_batch, steps) -> tf.data.Dataset:
    several = zip(*(make_batch(seed) for seed in range(steps)), strict=True)
    return tf.data.Dataset.from_tensor_slices(tuple(tf.stack(parts) for parts in several))


def whole_stage(supernet, make_batch, rate, building, *, epochs, steps, price):
    """Returns the callback, losses and tables by epoch, and what was said, of a stage."""
    search = make_search(supernet, rate, price)
    said, tables, losses, graphs = [], [], [], []
    loss_and_logits = search.loss_and_logits
    search.loss_and_logits = lambda *batch: graphs.append(len(said)) or loss_and_logits(*batch)
    shrinking = Shrinking(
        supernet, rate, epochs * steps, steps_per_epoch=steps, say=said.append, building=building
    )
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: tables.append(np.stack(search.tables())),
        on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]),
    )
    batches = repeated(make_batch, steps).repeat()
    settings = dict(epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=0)
    search.fit(batches, callbacks=[shrinking, note], **settings)
    assert graphs == list(range(len(said) + 1))  # as many as were announced
    return SimpleNamespace(search=search, losses=losses, tables=tables, said=said)


def binary(supernet) -> list[np.ndarray]:
    masks = [np.asarray(encoding.gates()) for encoding in supernet.encodings]
    return masks + [convolution.binary_mask() for convolution in supernet.masked_convolutions]


def both(make_supernet, make_batch, rate, prepare=lambda supernet: None, cells=3, **settings):
    """Returns a stage that never builds again and one that always does, whose numbers must be the same bits.

    Sums of so few terms are rounded alike with and without the zeros among them.
    """
    stages = []
    for building in (np.inf, 0.0):
        supernet = make_supernet(cells=cells)
        prepare(supernet)
        stages.append(whole_stage(supernet, make_batch, rate, building, **settings))
    one, other = stages
    assert not one.said
    assert other.losses == one.losses
    for a, b in zip(*(binary(stage.search.network) for stage in stages), strict=True):
        np.testing.assert_array_equal(a, b)
    return one, other


def test_a_whole_stage_has_the_same_numbers_on_smaller_graphs(make_supernet, make_batch):
    rate = learning_rates.dropped(RATE, 48, 0.5, 10.0)
    _, stage = both(make_supernet, make_batch, rate, epochs=6, steps=8, price=0.02)
    assert len(stage.said) >= 1
    states = stage.tables[-1]
    assert 0 < (states == GONE).sum() < states.size
    batch = make_batch(0)
    whole = kernels_run(stage.search, batch)  # everything is active again
    stage.search.network.set_activity(stage.search.tables())
    assert kernels_run(stage.search, batch) < 0.9 * whole
    gone, size = (states == GONE).sum(), states.size
    assert stage.said[-1].startswith(f"mask search: of {size} operations {gone} can no longer come back")


def test_one_that_rests_comes_back_as_if_it_had_not_rested(make_supernet, make_batch):
    steps = 3

    def prepare(supernet):
        for encoding in supernet.encodings:
            value = encoding.operation_mask.numpy()
            value[:, 0] = MASK_THRESHOLD - 7.5 * steps * RATE
            encoding.operation_mask.assign(value)

    settings = dict(
        epochs=10, steps=steps, price=-10.0, cells=1
    )  # an operation is worth more than it can harm
    _, stage = both(make_supernet, make_batch, constant(), prepare, **settings)
    states = np.stack(stage.tables)[..., 0]  # [epochs, groups, edges]
    assert (states == RESTING).sum(axis=(1, 2)).max() >= states[0].size - 1  # all but what keeps a path
    assert (states[-1] == ACTIVE).all()
    assert all(np.asarray(encoding.gates()).all() for encoding in stage.search.network.encodings)
    assert len(stage.said) == 2


@pytest.mark.parametrize(
    ("operations", "edges", "expected"),
    [
        ([], [], [[1, 1]] * 5),
        ([(0, 1), (4, 0)], [], [[1, 0], [1, 1], [1, 1], [1, 1], [0, 1]]),
        ([], [1], [[1, 1], [0, 0], [1, 1], [1, 1], [1, 1]]),
        ([(0, 0), (0, 1)], [1], [[0, 0], [0, 0], [1, 1], [1, 1], [0, 0]]),  # its target is dead
        ([], [0, 1, 2, 3, 4], [[0, 0], [0, 0], [0, 0], [0, 1], [0, 0]]),  # the strongest is always possible
        ([(3, 1)], [3], [[1, 1], [1, 1], [1, 1], [0, 1], [1, 1]]),
    ],
)
def test_which_gates_are_possible(operations, edges, expected, make_supernet):
    encoding = make_supernet(operations=OPERATIONS[2:]).encodings[0]
    strength = np.zeros((5, 2))
    strength[3, 1] = 5.0
    encoding.alpha.assign(strength)
    for mask, fallen in zip(encoding.real_masks, (operations, edges), strict=True):
        value = mask.numpy()
        for place in fallen:
            value[place] = MASK_THRESHOLD - 0.1
        mask.assign(value)
    assert possible_gates(encoding, 0.09).astype(int).tolist() == expected
    assert possible_gates(encoding, 0.11).all()


@pytest.mark.parametrize(("one", "two"), [(0.9, 0.999), (0.5, 0.999), (0.0, 0.99)])
def test_no_gradients_move_adam_further_than_the_bound(one, two):
    """The worst ones grow by b2 / b1 a step, as Cauchy and Schwarz have it; they reach it."""
    steps, peak = 60, 50
    rate = learning_rates.dropped(RATE, steps, 0.5, 10.0)
    adam = keras.optimizers.Adam(rate, beta_1=one, beta_2=two, epsilon=1e-12)
    random = np.random.default_rng(0)
    time = np.arange(steps)[:, None]
    worst = (two / max(one, 1e-3)) ** np.minimum(time - peak + 1, 0.0)
    sudden = np.where(time == peak, 1.0, 1e-6)
    sequences = np.concatenate(
        [worst, sudden, random.standard_normal((steps, 5)), 10.0 ** random.uniform(-6, 3, (steps, 5))], axis=1
    )
    values = keras.Variable(np.zeros(sequences.shape[1]), dtype="float64")
    adam.build([values])
    bound, largest = largest_steps(adam, rate, 0, steps), np.zeros(steps)
    for step, gradient in enumerate(-sequences):
        before = values.numpy()
        adam.apply([tf.constant(gradient)], [values])
        largest[step] = np.abs(values.numpy() - before).max()
    assert (largest <= bound * (1 + 1e-6)).all()
    assert largest[peak - 1] > 0.99 * bound[peak - 1]
    np.testing.assert_allclose(largest_steps(adam, rate, 20, 40), bound[20:40])


def test_the_bound_is_at_most_7_27_rates():
    steps = largest_steps(keras.optimizers.Adam(), constant(1.0), 0, 20000)
    assert steps[0] == pytest.approx(1.0)
    assert steps.max() == pytest.approx(7.27, abs=0.005)


def border(supernet, *, step=4, steps=8, building=0.0):
    """Returns a callback after the end of an epoch of four steps, and what it has said."""
    said = []
    shrinking = Shrinking(supernet, constant(), steps, steps_per_epoch=4, say=said.append, building=building)
    search = make_search(supernet, RATE)
    search.optimizer.iterations.assign(step)
    shrinking.set_model(search)
    shrinking.on_train_begin()
    shrinking.on_epoch_end(0)
    return shrinking, said


def fall(supernet, value=FALLEN, operation=0):
    """Lets the masks of one operation fall, by default of separable convolutions."""
    for encoding in supernet.encodings:
        masks = np.full(encoding.operation_mask.shape, MASK_INITIAL)
        masks[:, operation] = value
        encoding.operation_mask.assign(masks)


def of_convolutions(shrinking, operation=0) -> set[int]:
    return {int(state) for table in shrinking.model.tables() for state in table[:, operation]}


def test_a_mask_just_within_reach_is_not_taken_for_gone(make_supernet):
    """Of 8 steps 4 are left, and of 16 steps 12, of which 4 are in the next epoch."""
    supernet = make_supernet()
    reach = largest_steps(keras.optimizers.Adam(RATE), constant(), 4, 16)
    for distance, steps, expected in (
        (0.999 * reach[:4].sum(), 8, ACTIVE),
        (1.01 * reach[:4].sum(), 8, GONE),
        (0.999 * reach[:4].sum(), 16, ACTIVE),
        (1.01 * reach[:4].sum(), 16, RESTING),
        (0.999 * reach.sum(), 16, RESTING),
        (1.01 * reach.sum(), 16, GONE),
    ):
        fall(supernet, MASK_THRESHOLD - distance)
        shrinking, _ = border(supernet, steps=steps)
        assert of_convolutions(shrinking) - {ACTIVE} == {expected} - {ACTIVE}


@pytest.mark.parametrize(("change", "built"), [(-0.01, True), (0.01, False)])
def test_it_is_built_again_if_the_steps_left_save_more_than_it_takes(change, built, make_supernet):
    """Backward counts twice; the convolutions of 100 steps are left out, but for one that keeps a path."""
    supernet = make_supernet(operations=("identity", "sep_conv_3x3"))
    fall(supernet, operation=1)
    rest = 3 * supernet_multiply_adds(supernet)
    path = possible_gates(supernet.encodings[0], 0.0)[:, 1]
    per_edge = [
        sum(np.prod(c.kernel.shape[1:]) * c.positions for c in _kernels(mixed.candidates[1]))
        for mixed, rows in zip(supernet.cells[0].mixed, edges_from(2), strict=True)
        for row in rows
        if not path[row]
    ]
    shrinking, said = border(supernet, steps=104, building=100 * 3 * sum(per_edge) / rest + change)
    assert bool(said) == built
    assert of_convolutions(shrinking, 1) - {ACTIVE} == ({GONE} if built else set())


def _kernels(operation):
    return [layer for layer in operation._flatten_layers() if hasattr(layer, "positions")]


def test_nothing_is_built_where_nothing_changed_or_nothing_is_left(make_supernet):
    supernet = make_supernet()
    assert not border(supernet)[1]
    fall(supernet)
    assert border(supernet)[1]
    assert not border(supernet, step=8)[1]
    assert not border(supernet, step=3)[1]


def test_several_workers_keep_one_graph(make_supernet, monkeypatch):
    supernet = make_supernet()
    fall(supernet)
    monkeypatch.setattr("hmnas_tf.stages.shrinking.several_workers", lambda: True)
    assert not border(supernet)[1]


def test_where_one_that_rests_might_come_back_the_graph_is_built_whatever_it_takes(make_supernet):
    supernet = make_supernet()
    fall(supernet, MASK_THRESHOLD - 7.0 * 4 * RATE)
    shrinking, said = border(supernet, steps=10**4)
    assert RESTING in of_convolutions(shrinking)
    shrinking.building = np.inf
    shrinking.on_epoch_end(0)
    assert len(said) == 1
    fall(supernet, MASK_THRESHOLD - RATE)
    shrinking.on_epoch_end(0)
    assert len(said) == 2
    assert of_convolutions(shrinking) == {ACTIVE}
    states = {
        state for cell in supernet.cells for mixed in cell.mixed for own in mixed.activities for state in own
    }
    assert states == {ACTIVE}


def test_a_resumed_stage_has_the_graph_and_the_bits_of_one_that_was_not_killed(
    make_supernet, make_batch, values, bitwise_equal, tmp_path
):
    """Sums of more than nine tensors are rounded differently in a graph of everything."""
    operations = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "identity")

    def run(name, kill_at=0):
        """Returns a stage of 12 steps, each with a checkpoint, after its end or a kill in a step."""
        supernet = make_supernet(operations=operations, nodes=3)
        fall(supernet)
        search = make_search(supernet, RATE)

        def kill(batch, logs):
            if int(search.optimizer.iterations) == kill_at:
                raise InterruptedError

        shrinking = Shrinking(supernet, constant(), 12, steps_per_epoch=4, building=0.0)
        with pytest.raises(InterruptedError) if kill_at else contextlib.nullcontext():
            fit(
                search,
                lambda start: repeated(make_batch, 12).skip(start),
                epochs=3,
                steps_per_epoch=4,
                directory=tmp_path / name,
                checkpoint_steps=1,
                callbacks=[shrinking, keras.callbacks.LambdaCallback(on_train_batch_end=kill)],
            )
        return search

    assert (run("killed", kill_at=6).tables()[0] == GONE).any()
    stages = [run("killed"), run("uninterrupted")]
    tables, masks = zip(*((s.tables(), values(s.network.real_masks)) for s in stages), strict=True)
    assert bitwise_equal(*tables)
    assert bitwise_equal(*masks)
