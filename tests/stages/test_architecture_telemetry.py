"""What is said of an architecture while it is searched: numbers against NumPy, and nothing is changed by looking."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.stages.architecture_telemetry import Importances, Survivors, entropy
from hmnas_tf.stages.mask_search import MaskSearch
from hmnas_tf.stages.telemetry import COLUMNS, EpochTelemetry, read_rows

INTO = (slice(0, 2), slice(2, 5))  # edges into the two nodes of the smallest supernet


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True)


def plain_entropy(shares: np.ndarray) -> np.ndarray:
    return -(shares * np.log(shares)).sum(axis=-1)


def watching(supernet, warmup_epochs: int = 0) -> tuple[Importances, list[str]]:
    said: list[str] = []
    return Importances(supernet, warmup_epochs=warmup_epochs, warn=said.extend), said


def logs_of(callback: keras.callbacks.Callback, epoch: int = 0) -> dict:
    logs: dict = {}
    callback.on_epoch_end(epoch, logs)
    return logs


def prefer(supernet, columns: list[int], group: int = 0) -> None:
    """Makes these the strongest operations of the edges."""
    supernet.encodings[group].alpha.assign(2.0 * np.eye(3)[columns])


def test_entropy_is_0_for_a_choice_and_the_logarithm_for_none():
    shares = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    assert entropy(shares) == pytest.approx([0.0, np.log(3)])


@pytest.mark.parametrize("edge_softmax", ["node", "dag"])
def test_entropies_are_those_of_the_softmaxes(edge_softmax, make_supernet):
    supernet = make_supernet(edge_softmax=edge_softmax)
    random = np.random.default_rng(0)
    alpha, beta = random.normal(size=(5, 3)), random.normal(size=5)
    supernet.encodings[0].alpha.assign(alpha)
    supernet.encodings[0].beta.assign(beta)
    logs = logs_of(watching(supernet)[0])
    assert logs["operation_entropy"] == pytest.approx(plain_entropy(softmax(alpha)).mean(), rel=1e-5)
    # Within a node the softmax over the whole cell has the shares of a softmax over the node.
    of_nodes = [plain_entropy(softmax(beta[part])) for part in INTO]
    assert logs["edge_entropy"] == pytest.approx(np.mean(of_nodes), rel=1e-5)


def test_without_edge_softmax_there_is_no_entropy_of_edges(make_supernet):
    logs = logs_of(watching(make_supernet(edge_softmax="none"))[0])
    assert "edge_entropy" not in logs
    assert logs["operation_entropy"] == pytest.approx(np.log(3), rel=1e-4)  # fresh, hence undecided


def test_strongest_operations_are_counted_over_all_groups(make_supernet):
    supernet = make_supernet(cells=2, cell_sharing="cell")
    prefer(supernet, [0, 1, 2, 2, 0], group=0)
    prefer(supernet, [0, 0, 0, 0, 2], group=1)
    logs = logs_of(watching(supernet)[0])
    counts = {name: count for name, count in logs.items() if name.startswith("strongest/")}
    assert counts == {
        "strongest/sep_conv_3x3": 6,
        "strongest/max_pool_3x3": 1,
        "strongest/identity": 3,
    }
    assert logs["parameterless_share"] == pytest.approx(0.4)


def test_a_collapse_is_told_once_and_not_before_the_warm_up_ends(make_supernet):
    supernet = make_supernet()
    watch, said = watching(supernet, warmup_epochs=2)
    prefer(supernet, [2, 2, 1, 2, 2])
    logs_of(watch, 0)
    logs_of(watch, 1)
    assert not said
    prefer(supernet, [2, 2, 1, 0, 0])
    logs_of(watch, 2)
    assert not said
    prefer(supernet, [2, 2, 1, 2, 0])
    for epoch in (3, 4):
        logs_of(watch, epoch)
    (line,) = said
    assert "after epoch 4, 4 of 5 edges of cell 0" in line


def test_what_is_not_decided_is_no_collapse(make_supernet):
    supernet = make_supernet()
    watch, said = watching(supernet, warmup_epochs=0)
    for strength, warned in ((0.05, False), (2.0, True)):
        alpha = np.zeros((5, 3), np.float32)
        alpha[:, 2] = strength
        supernet.encodings[0].alpha.assign(alpha)
        logs_of(watch, 0)
        assert bool(said) is warned


def mask_margins(masks: list[np.ndarray], threshold: float) -> tuple[float, float]:
    values = np.concatenate([mask.ravel() for mask in masks]).astype(np.float64) - threshold
    return values.min(), values.mean()


def test_survivors_are_counted(make_supernet):
    supernet = make_supernet()
    encoding = supernet.encodings[0]
    logs = logs_of(Survivors(supernet))
    assert {name: logs[name] for name in ("operations", "edges", "weight_density")} == {
        "operations": 15,
        "edges": 5,
        "weight_density": 1.0,
    }
    mask = np.full((5, 3), 1e-2)
    mask[0] = 0.0  # an edge without operations
    mask[1, 0] = mask[3, 2] = 0.0
    encoding.operation_mask.assign(mask)
    encoding.edge_mask.assign([1e-2, 1e-2, 1e-2, 1e-2, 0.0])  # an edge that is masked itself
    first = supernet.weight_masks[0]
    first.assign(np.zeros(first.shape))
    total = sum(int(np.prod(m.shape)) for m in supernet.weight_masks)
    logs = logs_of(Survivors(supernet))
    assert logs["operations"] == 15 - 3 - 2 - 3
    assert logs["edges"] == 3
    assert logs["weight_density"] == pytest.approx(1 - int(np.prod(first.shape)) / total)


@pytest.mark.parametrize("threshold", [5e-3, 1e-3])
def test_margins_are_the_distances_of_the_masks_to_the_threshold(threshold, make_supernet, values):
    supernet = make_supernet(threshold=threshold)
    fresh = logs_of(Survivors(supernet))
    for name in ("architecture_margin_min", "architecture_margin_mean", "weight_margin_mean"):
        assert fresh[name] == pytest.approx(1e-2 - threshold, rel=1e-5)
    random = np.random.default_rng(0)
    for mask in supernet.real_masks:
        mask.assign(random.normal(5e-3, 3e-3, mask.shape))
    logs = logs_of(Survivors(supernet))
    for kind, masks in (("architecture", supernet.architecture_masks), ("weight", supernet.weight_masks)):
        least, mean = mask_margins(values(masks), threshold)
        assert logs[f"{kind}_margin_min"] == pytest.approx(least, rel=1e-6)
        assert logs[f"{kind}_margin_mean"] == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("cell_sharing", ["all", "cell"])
def test_looking_changes_no_bit_and_draws_no_random_number(
    cell_sharing, make_supernet, values, bitwise_equal
):
    supernet = make_supernet(cells=2, cell_sharing=cell_sharing)
    before = values(supernet.variables)
    watch, _ = watching(supernet)
    keras.utils.set_random_seed(7)
    expected = keras.random.normal((3,)), keras.initializers.RandomNormal()((3,))
    keras.utils.set_random_seed(7)
    for callback in (watch, Survivors(supernet)):
        logs_of(callback)
    watching(supernet)
    found = keras.random.normal((3,)), keras.initializers.RandomNormal()((3,))
    assert bitwise_equal(values(supernet.variables), before)
    assert bitwise_equal([np.asarray(v) for v in found], [np.asarray(v) for v in expected])


def scalars(folder) -> dict[str, dict[int, float]]:
    """Returns tag -> step -> value of all event files in a folder."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return found


@pytest.fixture(scope="module")
def trained(make_supernet, make_training, make_batch, tmp_path_factory):
    """Two epochs of supernet training and of mask search with all callbacks, beside the progress bar."""
    folder, lines = tmp_path_factory.mktemp("telemetry"), []
    supernet, batch = make_supernet(), make_batch()

    def fit(
        name: str, stage: keras.Model, dataset: tf.data.Dataset, observer: keras.callbacks.Callback
    ) -> None:
        telemetry = EpochTelemetry(name, 2, 3, folder / "metrics.csv", lines.append)
        board = keras.callbacks.TensorBoard(str(folder / name), write_graph=False)
        stage.fit(
            dataset.repeat(6),
            epochs=2,
            steps_per_epoch=3,
            verbose=1,
            shuffle=False,
            callbacks=[observer, telemetry, board],
        )

    one = tf.data.Dataset.from_tensors(batch)
    training = make_training(supernet, [True] * 6)
    fit("supernet training", training, tf.data.Dataset.zip(one, one), watching(supernet)[0])
    adam = keras.optimizers.Adam
    search = MaskSearch(
        supernet,
        weight_mask_optimizer=adam(2e-3),
        architecture_mask_optimizer=adam(1e-3),
        operation_price=0.1,
    )
    fit("mask search", search, one, Survivors(supernet))
    return folder, lines, supernet


def test_rows_have_one_column_of_strongest_operations(trained):
    folder, lines, _ = trained
    rows = read_rows(folder / "metrics.csv")
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        (stage, epoch) for stage in ("supernet training", "mask search") for epoch in "12"
    ]
    assert tuple(rows[0]) == COLUMNS
    counts = dict(part.split(":") for part in rows[1]["strongest"].split(" "))
    assert sum(map(int, counts.values())) == 5
    assert list(map(int, counts.values())) == sorted(map(int, counts.values()), reverse=True)
    share = sum(int(counts.get(name, 0)) for name in ("max_pool_3x3", "identity")) / 5
    assert float(rows[1]["parameterless_share"]) == pytest.approx(share)
    assert f"{100 * share:.0f} % of edges parameterless" in lines[1]
    own = ("operation_entropy", "edge_entropy", "parameterless_share", "strongest")
    masks = ("operations", "weight_density", "architecture_margin_min", "weight_margin_mean")
    for row, filled, empty in ((rows[0], own, masks), (rows[2], masks, own)):
        assert all(row[column] for column in filled)
        assert not any(row[column] for column in empty)
    assert float(rows[3]["architecture_margin_min"]) < float(rows[2]["architecture_margin_min"]) < 5e-3


def test_tensorboard_has_the_numbers_of_the_rows(trained):
    folder, _, supernet = trained
    rows = read_rows(folder / "metrics.csv")
    for stage, columns in {
        "supernet training": ("operation_entropy", "edge_entropy", "parameterless_share"),
        "mask search": (
            "operations",
            "edges",
            "weight_density",
            "architecture_margin_min",
            "architecture_margin_mean",
            "weight_margin_min",
            "weight_margin_mean",
        ),
    }.items():
        found = scalars(folder / stage / "train")
        for column in columns:
            expected = [float(row[column]) for row in rows if row["stage"] == stage]
            assert [found[f"epoch_{column}"][step] for step in (0, 1)] == pytest.approx(expected, rel=1e-4)
    found = scalars(folder / "supernet training" / "train")
    for epoch in (0, 1):
        counts = dict(part.split(":") for part in rows[epoch]["strongest"].split(" "))
        for name in supernet.topology.operations:
            assert found[f"epoch_strongest/{name}"][epoch] == int(counts.get(name, 0))
