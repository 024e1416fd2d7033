"""Width masks: a masked channel is gone everywhere, and the narrower network computes the same."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.evaluation_network import evaluation_network
from hmnas_tf.derivation.fold import fold
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.networks import counting
from hmnas_tf.settings.paper import LEAST_CHANNELS, PAPER_OPERATIONS
from hmnas_tf.space.genotype import Genotype

FEW = ("sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3", "identity")
BY_HAND = ("conv_1x1", "conv_3x3", "mbconv_3x3", "mbconv_5x5", "identity")
SUPERNETS = {
    "3 cells, odd sizes": dict(cells=3, nodes=1, size=9, operations=FEW, cell_sharing="cell"),
    "1 cell, all operations, dag, renormalized": dict(
        cells=1, nodes=2, size=8, edge_softmax="dag", renormalize=True
    ),
    "imagenet, affine": dict(cells=2, nodes=1, size=32, operations=FEW[::3], stem="imagenet", affine=True),
    "written by hand, narrow": dict(
        cells=3,
        nodes=1,
        size=9,
        operations=BY_HAND,
        cell_sharing="cell",
        stem="narrow",
        reduce_in="preprocessing",
    ),
    "written by hand, affine": dict(cells=1, nodes=2, size=8, operations=BY_HAND, affine=True),
    "pooled": dict(
        cells=3, nodes=1, size=9, operations=BY_HAND[-2:], cell_sharing="cell", reduce_in="pooling"
    ),
    "affine pools": dict(cells=2, nodes=1, size=8, operations=("avg_pool_3x3", "none"), affine=True),
}


@pytest.fixture(scope="module", params=SUPERNETS)
def sized(request, make_supernet):
    settings = SUPERNETS[request.param]
    return make_supernet(**settings, width_masks=True), settings["size"]


def narrow(supernet, seed: int) -> None:
    """Leaves each cell and stem some random channels, not all, now and then fewer than there must be."""
    random = np.random.default_rng(seed)
    for mask in supernet.width_masks:
        real = np.where(random.random(mask.shape) < 0.6, 1e-2, -1e-2).astype(np.float32)
        real[random.integers(len(real))] = -1e-2
        mask.assign(real)


def close(one, other) -> None:
    one, other = np.asarray(one), np.asarray(other)
    assert np.abs(one).max() > 1e-3
    assert np.abs(one - other).max() <= 1e-5 * max(1.0, np.abs(one).max())


@pytest.mark.parametrize("seed", [1, 2])
def test_masked_supernet_derived_and_folded_network_compute_the_same(sized, seed, randomise, images):
    supernet, size = sized
    randomise(supernet, seed, density=0.6, of_weights=0.9)
    narrow(supernet, seed)
    widths = [len(kept) for kept in supernet.widths()]
    whole = [plan.channels for plan in supernet.topology.plans] + list(supernet.topology.stem_channels)
    assert all(LEAST_CHANNELS <= kept <= most for kept, most in zip(widths, whole, strict=True))
    assert widths != whole
    assert widths[len(supernet.cells) :] != list(supernet.topology.stem_channels)
    x = images(size)
    genotype = genotype_of(supernet, "masks")
    cells = [genotype.channels(index) for index in range(len(supernet.cells))]
    assert [*cells, *genotype.stem_channels] == widths
    network = derive(supernet, genotype, x.shape[1:])
    logits = supernet(x, training=False)
    close(logits, network(x, training=False))
    close(logits, fold(network)(x, training=False))
    fresh = evaluation_network(genotype, 5, x.shape[1:])
    for name in ("params", "flops"):
        assert counting.size_of(fresh)[name] == counting.size_of(network)[name]


def test_a_masked_channel_is_zero_in_every_node(make_supernet, randomise, images):
    supernet = make_supernet(width_masks=True, operations=FEW)
    randomise(supernet, 4, density=0.9)
    narrow(supernet, 4)
    seen = []
    for index, cell in enumerate(supernet.cells):
        original = cell.call
        cell.call = lambda *a, _c=original, _i=index, **k: seen.append((_i, _c(*a, **k))) or seen[-1][1]
    for training in (False, True):
        supernet(images(8), training=training)
    assert len(seen) == 6
    for index, y in seen:
        kept, channels = supernet.widths()[index], supernet.cells[index].channels
        masked = np.setdiff1d(np.arange(channels), kept)
        by_node = np.asarray(y).reshape(-1, 2, channels)
        assert masked.size
        assert not by_node[..., masked].any()
        assert by_node[..., kept].any()


def test_a_genotype_with_widths_is_written_and_read(make_supernet, randomise):
    supernet = randomise(make_supernet(width_masks=True), 2)
    genotype = genotype_of(supernet, "masks")
    data = genotype.to_json()
    assert data["schema"] == 3
    kept = [*(cell["channels"] for cell in data["cells"]), *data["stem_channels"]]
    assert kept == [len(kept) for kept in supernet.widths()]
    assert Genotype.from_json(data) == genotype == genotype.resized()
    before = {key: value for key, value in data.items() if key != "stem_channels"} | {"schema": 2}
    assert Genotype.from_json(before) == dataclasses.replace(genotype, stems=())
    assert Genotype.from_json(before).to_json() == before
    for wrong in ([1], [13], ["4"], [True], [4, 4], []):
        with pytest.raises(ValueError, match=r"stem_channels is .*: expected 1 of 2 to 12"):
            Genotype.from_json(data | {"stem_channels": wrong})
    data["cells"][1]["channels"] = 1
    with pytest.raises(ValueError, match="cell 1 has 1 channels: expected 2 to 8"):
        Genotype.from_json(data)
    with pytest.raises(ValueError, match="widths of their own"):
        genotype.resized(initial_channels=8)


def test_widths_that_are_not_the_supernets_are_refused(make_supernet, randomise):
    supernet = randomise(make_supernet(width_masks=True), 2)
    genotype = genotype_of(supernet, "masks")
    supernet.width_masks[0].assign(np.full(4, 1e-2, np.float32))
    with pytest.raises(ValueError, match="channels in cell 0, but the supernet's masks leave 4"):
        derive(supernet, genotype, (8, 8, 3))
    genotype = genotype_of(supernet, "masks")
    supernet.width_masks[-1].assign(np.full(12, 1e-2, np.float32))
    with pytest.raises(ValueError, match="channels of stem 0, but the supernet's masks leave 12"):
        derive(supernet, genotype, (8, 8, 3))


def test_gradients_reach_width_masks_and_stop_at_what_is_masked(make_supernet, randomise, images):
    supernet = randomise(make_supernet(width_masks=True, operations=FEW), 5, density=0.7)
    values = [mask.value for mask in supernet.width_masks]
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = tf.reduce_sum(supernet(images(8), training=True) ** 2)
    for gradient, kept in zip(tape.gradient(loss, values), supernet.widths(), strict=True):
        assert np.asarray(gradient)[kept].any()


@pytest.mark.parametrize("changes", [{"partial_channels": 2}, {"operations": ("own",)}])
def test_what_cannot_be_narrowed_is_refused(changes, make_supernet, monkeypatch):
    from hmnas_tf.layers import mixed_operation
    from hmnas_tf.layers.operations import OPERATIONS, Identity

    class Own(Identity):
        narrows = False

    monkeypatch.setitem(OPERATIONS, "own", Own)
    assert mixed_operation.OPERATIONS is OPERATIONS
    with pytest.raises(ValueError, match="there can be no budget"):
        make_supernet(width_masks=True, **changes)


def test_without_width_masks_there_is_nothing_new(make_supernet):
    keras.utils.set_random_seed(0)
    supernet = make_supernet()
    assert supernet.width_masks == []
    assert supernet.widths() == [None] * 4
    assert supernet.topology.operations == PAPER_OPERATIONS
    assert genotype_of(supernet, "masks").to_json()["schema"] == 1


def test_recomputed_edges_have_the_same_results_and_gradients(make_supernet, randomise, images):
    found = []
    for recompute in (False, True):
        supernet = make_supernet(cells=1, operations=FEW, width_masks=True, recompute=recompute)
        randomise(supernet, 5, density=0.8)
        narrow(supernet, 5)
        masks = [mask.value for mask in supernet.width_masks]
        with tf.GradientTape() as tape:
            tape.watch(masks)
            logits = supernet(images(8), training=True)
            loss = tf.reduce_sum(logits**2)
        found.append([logits, *tape.gradient(loss, masks)])
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(plain, again, rtol=1e-4, atol=1e-4)


def test_half_precision_keeps_masked_channels_zero(make_supernet, randomise, images):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        supernet = make_supernet(cells=1, operations=FEW, width_masks=True)
    finally:
        keras.config.set_dtype_policy(before)
    randomise(supernet, 6, density=0.9)
    narrow(supernet, 6)
    assert supernet.width_masks[0].dtype == "float32"
    x = tf.cast(images(8), "bfloat16")
    encoding = supernet.encodings[supernet.groups[0]]
    stem = supernet.stems[0](x, training=True)
    y = supernet.cells[0](stem, stem, encoding.mixing_weights(), training=True, width=supernet.width(0))
    masked = np.setdiff1d(np.arange(8), supernet.widths()[0])
    by_node = tf.cast(y, "float32").numpy().reshape(-1, 2, 8)
    assert not by_node[..., masked].any()
    assert np.isfinite(by_node).all()
    assert by_node.any()
