"""The derived network computes what the masked supernet computes, and nothing else is left."""

from __future__ import annotations

import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from hmnas_tf.derivation.assemble import term_name
from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.settings.paper import PAPER_OPERATIONS
from hmnas_tf.space.topology import cell_edges, edges_from

FEW = ("sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3", "identity")
SUPERNETS = {  # every size, number of cells, sharing, softmax and stem at least once
    "1 cell": dict(cells=1, nodes=4, size=9),
    "2 cells, all, dag, renormalized": dict(
        cells=2, nodes=2, size=8, cell_sharing="all", edge_softmax="dag", renormalize=True, stem="narrow"
    ),
    "3 cells, each its own, renormalized": dict(
        cells=3, nodes=3, size=9, operations=(*FEW, "avg_pool_3x3"), cell_sharing="cell", renormalize=True
    ),
    "5 cells, dag": dict(cells=5, nodes=2, size=8, operations=FEW[1:], edge_softmax="dag"),
    "imagenet": dict(cells=2, nodes=2, size=32, operations=FEW[:2], stem="imagenet", cell_sharing="cell"),
    "affine, none": dict(cells=3, nodes=1, size=8, operations=(*FEW, "none"), affine=True),
    "halved in preprocessing": dict(
        cells=5, nodes=2, size=9, operations=FEW, cell_sharing="cell", reduce_in="preprocessing"
    ),
    "halved by pools": dict(
        cells=4, nodes=1, size=9, operations=FEW[:2], cell_sharing="cell", reduce_in="pooling"
    ),
    "partial channels": dict(
        cells=3, nodes=3, size=9, operations=FEW, partial_channels=2, cell_sharing="cell"
    ),
    "partial channels, one node, renormalized": dict(
        cells=2, nodes=1, size=8, operations=(*FEW[1:], "none"), partial_channels=2, renormalize=True
    ),
}


@pytest.fixture(scope="module", params=SUPERNETS)
def sized(request, make_supernet):
    """A supernet and the size of its images."""
    return make_supernet(**SUPERNETS[request.param]), SUPERNETS[request.param]["size"]


def derived(supernet, size: int, rule: str = "masks"):
    genotype = genotype_of(supernet, rule)
    return genotype, derive(supernet, genotype, (size, size, 3))


def check_structure(network, genotype, supernet) -> None:
    """What exists is what the genotype lists in the cells it needs, with the channels that living nodes feed.

    An identity of weight 1 is the tensor itself and has no layer.
    """
    named = [
        re.match(r"cell(\d+)_edge(\d+)_(\d+)_(.+?x\d|identity|none)(_|$)", layer.name)
        for layer in network.layers
    ]
    existing = {(int(m[1]), int(m[2]), int(m[3]), m[4]) for m in named if m}
    plans = supernet.topology.plans
    listed = {
        (index, edge.source, edge.target, operation.name)
        for index in genotype.needed_cells()
        for edge, gene in genotype.cells[index].edges()
        for operation in gene.operations
        if operation.name != "identity"
        or plans[index].strides(edge.source) == 2
        or operation.alpha * gene.beta != 1
    }
    assert existing == listed
    cells = {int(m[1]) for layer in network.layers if (m := re.match(r"cell(\d+)_", layer.name))}
    assert cells == set(genotype.needed_cells())
    names = {layer.name for layer in network.layers}

    def width(cell: int) -> int:
        if cell < 0:
            return supernet.stems[cell].filters[-1]
        return len(genotype.cells[cell].living_nodes()) * plans[cell].channels

    for index in cells:
        for source in range(2):
            of_input = [name for name in names if name.startswith(f"cell{index}_preprocess{source}_")]
            assert bool(of_input) == genotype.cells[index].uses(source)
            before = max(index - 2 + source, -len(supernet.stems))
            for name in of_input:
                if hasattr(network.get_layer(name), "kernel"):
                    assert network.get_layer(name).kernel.shape[-2] == width(before)
        for position in range(supernet.topology.nodes):
            incoming = [len(gene.operations) for gene in genotype.cells[index].nodes[position]]
            assert (f"cell{index}_node{2 + position}" in names) == (sum(incoming) > 1)
    assert network.get_layer("logits").kernel.shape == (width(len(plans) - 1), 5)


@pytest.mark.parametrize("density", [1.0, 0.8, 0.5, 0.2, 0.05, 0.0])
def test_derived_network_computes_what_the_masked_supernet_computes(
    sized, density, randomise, images, difference
):
    supernet, size = sized
    randomise(supernet, seed=int(100 * density), density=density, of_weights=max(density, 0.3))
    genotype, network = derived(supernet, size)
    x = images(size)
    assert difference(network(x, training=False), supernet(x, training=False)) < 1e-5
    check_structure(network, genotype, supernet)
    assert {type(layer).__module__.partition(".")[0] for layer in network.layers} == {"keras"}


def test_it_still_does_after_batch_statistics_were_gathered(make_supernet, randomise, images, difference):
    supernet = randomise(make_supernet(2, 1, FEW), seed=3, density=0.7)
    for _ in range(10):
        supernet(images(8), training=True)
    _, network = derived(supernet, 8)
    assert difference(network(images(8), training=False), supernet(images(8), training=False)) < 1e-5


def test_a_cell_that_nothing_reads_is_not_built(make_supernet, randomise, images, difference):
    supernet = randomise(make_supernet(3, 2, FEW, cell_sharing="cell"), seed=1, density=0.8)
    mask = supernet.encodings[2].edge_mask  # the last cell loses its second input, the cell before it
    mask.assign([1e-2 * (edge.source != 1) for edge in cell_edges(2)])
    genotype, network = derived(supernet, 8)
    assert genotype.needed_cells() == (0, 2)
    assert not [layer.name for layer in network.layers if layer.name.startswith("cell1")]
    assert difference(network(images(8), training=False), supernet(images(8), training=False)) < 1e-5
    check_structure(network, genotype, supernet)


def test_channels_of_dead_nodes_are_gone_from_their_readers(make_supernet, randomise, images, difference):
    """Node 2 of three is dead in every cell; all that read cells see the other two."""
    supernet = randomise(
        make_supernet(3, 3, ("sep_conv_3x3", "identity"), cell_sharing="all"), seed=2, density=1.0
    )
    supernet.encodings[0].edge_mask.assign([1e-2 * (edge.target != 2) for edge in cell_edges(3)])
    _, network = derived(supernet, 8)
    shapes = {layer.name: tuple(layer.kernel.shape) for layer in network.layers if hasattr(layer, "kernel")}
    assert shapes["cell2_preprocess0_even"] == shapes["cell2_preprocess0_odd"] == (1, 1, 8, 8)
    assert shapes["cell2_preprocess1_pointwise"] == (1, 1, 16, 16)
    assert shapes["cell1_preprocess0_pointwise"] == (1, 1, 12, 8)  # of the stem
    assert shapes["logits"] == (32, 5)
    assert difference(network(images(8), training=False), supernet(images(8), training=False)) < 1e-5


def test_channels_that_pass_by_are_as_many_as_edges_live(make_supernet, randomise):
    """Two crops a node that is read, a pool on each input of a reduction cell, one importance an edge."""
    supernet = randomise(make_supernet(1, 3, FEW, partial_channels=2), seed=1, density=1.0)
    supernet.encodings[0].edge_mask.assign([1e-2 * (edge.source != 1) for edge in cell_edges(3)])
    genotype, network = derived(supernet, 8)
    names = sorted(
        layer.name for layer in network.layers if "_passing" in layer.name or "_read" in layer.name
    )
    edges = [f"{edge.source}_{edge.target}" for edge, _ in genotype.cells[0].edges()]
    expected = [f"cell0_node{source}_{what}" for source in (0, 2, 3) for what in ("passing", "read")]
    expected += ["cell0_node0_passing_pool", *(f"cell0_edge{pair}_passing_weight" for pair in edges)]
    assert genotype.count() == {"edges": 6, "operations": 6 * 4}
    assert names == sorted(expected)
    assert network.get_layer("cell0_edge0_3_sep_conv_3x3_1_pointwise").kernel.shape == (1, 1, 4, 4)


def test_masked_weights_are_exact_zeros_and_the_others_keep_their_values(make_supernet, randomise):
    supernet = randomise(make_supernet(1, 2, FEW), seed=4, density=1.0, of_weights=0.5)
    _, network = derived(supernet, 8)
    cell, checked = supernet.cells[0], 0
    pairs = [("stem_0_conv", supernet.stems[0].convs[0], ())]
    pairs += [(f"cell0_preprocess{i}_pointwise", cell.preprocess[i].pointwise, (0,)) for i in range(2)]
    for source, rows in enumerate(edges_from(2)):
        for parallel, row in enumerate(rows):
            place = f"cell0_edge{source}_{cell_edges(2)[row].target}"
            unit = cell.mixed[source].candidates[FEW.index("dil_conv_3x3")]
            pairs += [
                (f"{place}_dil_conv_3x3_depthwise", unit.depthwise, (parallel,)),
                (f"{place}_dil_conv_3x3_pointwise", unit.pointwise, (parallel,)),
            ]
    for name, source, at in pairs:
        kernel = np.asarray(network.get_layer(name).kernel)
        mask, value = (
            array[at].reshape(kernel.shape) for array in (source.binary_mask(), source.kernel.numpy())
        )
        np.testing.assert_array_equal(kernel, np.where(mask, value, 0.0))
        assert 0 < mask.sum() < mask.size
        checked += 1
    assert checked == 3 + 2 * 5


def test_batch_normalizations_are_affine_and_start_from_the_same_function(make_supernet, randomise):
    supernet = randomise(make_supernet(1, 1, FEW), density=1.0)
    genotype, network = derived(supernet, 8)
    weights = {
        f"{term_name(0, edge, operation.name)}_": operation.alpha * gene.beta
        for edge, gene in genotype.cells[0].edges()
        for operation in gene.operations
    }
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 1 + 2 + 2 * (2 + 1 + 1 + 1)  # stem, preprocessings, two edges of stride 2
    scaled = 0
    for norm in norms:
        assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)
        assert norm.gamma.trainable
        if not norm.name.startswith("stem"):  # whose own is affine
            last = not norm.name.endswith("_1_bn")  # of an operation with two halves
            weight = [weight for place, weight in weights.items() if norm.name.startswith(place) and last]
            np.testing.assert_allclose(norm.gamma.numpy(), *(weight or [1.0]), rtol=1e-6)
            scaled += len(weight)
            assert np.all(norm.beta.numpy() == 0)
    assert scaled == len(weights) == 2 * 4
    own = supernet.cells[0].mixed[1].candidates[FEW.index("max_pool_3x3")].batch_norm
    pool = network.get_layer("cell0_edge1_2_max_pool_3x3_bn")
    np.testing.assert_array_equal(pool.moving_mean.numpy(), own.moving_mean.numpy()[0])
    np.testing.assert_array_equal(pool.moving_variance.numpy(), own.moving_variance.numpy()[0])


def test_neither_rule_nor_derivation_changes_the_supernet(make_supernet, randomise):
    supernet = randomise(make_supernet(2, 1, FEW))
    before = supernet.get_weights()
    _, network = derived(supernet, 8)
    for variable in network.variables:
        variable.assign(variable + 1.0)  # and the derived network shares no variable with it
    for old, new in zip(before, supernet.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


LOAD = """
import sys
sys.modules["hmnas_tf"] = None  # an import of it raises ImportError
import keras, numpy as np
try:
    import hmnas_tf
except ImportError:
    model = keras.saving.load_model(sys.argv[1])
    assert (model.inputs[0].name, model.layers[-1].name) == ("image", "logits")
    np.save(sys.argv[3], np.asarray(model(np.load(sys.argv[2]), training=False)))
"""


def test_saved_network_is_loaded_without_this_project(make_supernet, randomise, images, tmp_path):
    supernet = randomise(make_supernet(2, 1, PAPER_OPERATIONS, 9), seed=5, density=0.9)
    _, network = derived(supernet, 9)
    network.save(tmp_path / "network.keras")
    np.save(tmp_path / "images.npy", images(9))
    files = [str(tmp_path / name) for name in ("network.keras", "images.npy", "logits.npy")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *files], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    expected = np.asarray(network(images(9), training=False))
    np.testing.assert_allclose(np.load(files[2]), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_logits_are_float32_under_mixed_precision(make_supernet, images):
    supernet = make_supernet(1, 1, ("sep_conv_3x3", "identity"))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        _, network = derived(supernet, 8)
    finally:
        keras.config.set_dtype_policy("float32")
    assert network.get_layer("cell0_preprocess0_pointwise").compute_dtype == "bfloat16"
    assert network(images(8), training=False).dtype == "float32"
    assert {variable.dtype for variable in network.variables} == {"float32"}


def test_genotype_of_another_topology_is_refused(make_supernet):
    small, large = make_supernet(1, 1, FEW), make_supernet(1, 2, FEW)
    with pytest.raises(ValueError, match="genotype is for Topology.*nodes=1.*supernet has Topology.*nodes=2"):
        derive(large, genotype_of(small, "masks"), (8, 8, 3))
