"""The supernet against one written independently in PyTorch: same weights, same images, same numbers.

The reference runs in float64, so what differs is the project's float32 rounding. Two lists of arrays (gradients, one
for each variable; statistics; or only the logits) differ by the largest of

    ||ours - theirs|| / max(||theirs||, FLOOR * largest norm of theirs),

with the Euclidean norm over all elements of an array. The floor is for arrays of zeros: gradients of what is masked.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from reference import FactorizedReduce
from reference import Supernet as TorchSupernet
from torch import nn
from torch.nn import functional
from weights import THRESHOLD, Match, matches, value_in, whole

from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.settings.paper import PAPER_OPERATIONS
from hmnas_tf.space.topology import Topology, cell_edges

OF_GRADIENTS, OF_VALUES = 1e-4, 1e-5  # tolerated differences
FLOOR = 1e-5
CHANNELS, CLASSES = 4, 5
DARTS_OPERATIONS = ("none", *PAPER_OPERATIONS)


@dataclasses.dataclass(frozen=True)
class Case:
    """What kind of supernet is compared, on how many images of which size."""

    size: tuple[int, int] = (16, 16)
    batch: int = 4
    cells: int = 3
    nodes: int = 2
    operations: tuple[str, ...] = PAPER_OPERATIONS
    stem: str = "cifar"
    edge_softmax: str = "node"
    cell_sharing: str = "type"
    affine: bool = False
    masked: bool = False
    reduce_in: str = "operations"


ODD = "9, 5, 3, one architecture"
CASES = {
    "paper": Case(nodes=4),
    "dag, own architectures": Case(edge_softmax="dag", cell_sharing="cell"),
    "14, 7, 4 by 9, 5, 3, affine": Case(size=(14, 9), affine=True),
    ODD: Case(size=(9, 9), cell_sharing="all"),
    "normal after reduction": Case(cells=5, nodes=1, batch=8, cell_sharing="cell"),
    "darts": Case(operations=DARTS_OPERATIONS, edge_softmax="none"),
    "imagenet": Case(size=(64, 64), batch=8, stem="imagenet"),
    "masked": Case(masked=True, nodes=3),
    "masked, odd, halved in preprocessing": Case(
        masked=True, size=(9, 9), cells=4, reduce_in="preprocessing"
    ),
    "12 by 9, 6 by 5, halved by pools": Case(size=(12, 9), nodes=1, cells=4, reduce_in="pooling"),
    "masked, odd, dag, affine": Case(masked=True, size=(9, 9), edge_softmax="dag", affine=True),
}


def make_ours(case: Case) -> Supernet:
    """Returns a supernet in which every variable has values that show if they stand in the wrong place."""
    topology = Topology(
        initial_channels=CHANNELS,
        cells=case.cells,
        nodes=case.nodes,
        operations=case.operations,
        stem=case.stem,
        reduce_in=case.reduce_in,
    )
    keras.utils.set_random_seed(1)
    settings = {name: getattr(case, name) for name in ("edge_softmax", "cell_sharing", "affine")}
    ours = Supernet(topology, CLASSES, **settings)
    ours.build((None, *case.size, 3))
    random = np.random.default_rng(2)
    for variable in ours.variables:
        if variable.name == "gamma" or "variance" in variable.name:
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.name == "bias":  # small, or the rest of the logits would hardly count
            variable.assign(0.1 * random.standard_normal(variable.shape))
        elif variable.name in ("alpha", "beta"):
            variable.assign(random.standard_normal(variable.shape))
    for norm in norms(ours):
        norm.moving_mean.assign(random.standard_normal(norm.moving_mean.shape))
    if case.masked:
        for variable in ours.real_masks:
            kept = random.random(variable.shape) < 0.7
            variable.assign(np.where(kept, 1e-2, random.uniform(-1e-2, THRESHOLD, variable.shape)))
        edges = np.array(ours.encodings[0].edge_mask)
        edges[:2] = 0.0  # nothing reaches the first node, so edges that leave it are gone as well
        ours.encodings[0].edge_mask.assign(edges)
    return ours


def norms(ours: Supernet) -> list[BatchNorm]:
    return [layer for layer in ours._flatten_layers() if isinstance(layer, BatchNorm)]


def make_theirs(case: Case) -> TorchSupernet:
    theirs = TorchSupernet(
        CHANNELS,
        case.cells,
        CLASSES,
        case.operations,
        nodes=case.nodes,
        stem=case.stem,
        edge_softmax=case.edge_softmax,
        sharing=case.cell_sharing,
        affine=case.affine,
        early=case.reduce_in != "operations",
        pooled=case.reduce_in == "pooling",
    )
    return theirs.double()


def sources_alive(of_operations: np.ndarray, of_edges: np.ndarray, nodes: int) -> np.ndarray:
    """Returns for each edge 1 if anything reaches its source, else 0."""
    alive = {0, 1}
    for (source, target), own, edge in zip(cell_edges(nodes), of_operations, of_edges, strict=True):
        if source in alive and edge and own.any():
            alive.add(target)
    assert len(alive) > 2, "a cell without a path is another test's matter"
    return np.array([float(source in alive) for source, _ in cell_edges(nodes)])


def to_torch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float64))


def to_kink(theirs: TorchSupernet, images: np.ndarray) -> float:
    """Returns how near images come to a kink of the network: a ReLU's input at 0, two equal pixels in a max pool.

    Nearer than rounding, a part of the gradient would be a matter of chance. Exact zeros do not count: they come from
    masks, and both networks have them.
    """
    nearest = []

    def of_relu(module: nn.Module, inputs: tuple) -> None:
        values = inputs[0].abs()
        nearest.append(values[values > 0].min().item())

    def of_pool(module: nn.Module, inputs: tuple) -> None:
        padded = functional.pad(inputs[0], [module.padding] * 4, value=-1e9)
        windows = padded.unfold(2, 3, module.stride).unfold(3, 3, module.stride).flatten(-2)
        first, second = windows.topk(2).values.unbind(-1)
        gaps = first - second
        nearest.append(gaps[gaps > 0].min().item())

    hooks = []
    for module in theirs.modules():
        if isinstance(module, (nn.ReLU, FactorizedReduce)):
            hooks.append(module.register_forward_pre_hook(of_relu))
        elif isinstance(module, nn.MaxPool2d):
            hooks.append(module.register_forward_pre_hook(of_pool))
    with torch.no_grad():
        theirs(to_torch(images))
    for hook in hooks:
        hook.remove()
    return min(nearest)


class ArchitectureMasks:
    """The binary masks of operations and edges as PyTorch sees them: plain factors with gradients."""

    def __init__(self, ours: Supernet):
        def binary(real_mask: keras.Variable) -> torch.Tensor:
            return torch.from_numpy((np.asarray(real_mask) > THRESHOLD).astype(np.float64)).requires_grad_()

        self.factors = []
        self.leaves = []  # (real mask, PyTorch tensor)
        for encoding in ours.encodings:
            of_operations, of_edges = binary(encoding.operation_mask), binary(encoding.edge_mask)
            alive = sources_alive(of_operations.detach().numpy(), of_edges.detach().numpy(), encoding.nodes)
            self.factors.append(of_operations * (of_edges * torch.from_numpy(alive))[:, None])
            self.leaves += [(encoding.operation_mask, of_operations), (encoding.edge_mask, of_edges)]


Pairs = list[tuple[str, np.ndarray, np.ndarray]]  # name, ours, theirs


def difference(pairs: Pairs) -> float:
    """Returns the measure described above."""
    for name, ours, theirs in pairs:
        assert np.shape(ours) == np.shape(theirs), name
    largest = max(np.linalg.norm(theirs) for _, _, theirs in pairs)
    return max(
        np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), FLOOR * largest)
        for _, ours, theirs in pairs
    )


class Step:
    """A training step of the project's supernet, and inference after it, to be compared with the reference's.

    Args:
        case: which supernet.
    """

    def __init__(self, case: Case):
        self.case = case
        self.ours = make_ours(case)
        self.before = {variable.path: variable.numpy() for variable in self.ours.variables}
        self.images, self.labels = self._batch()
        self.other_images = np.flip(self.images, axis=1).copy()
        variables = self.ours.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.ours(self.images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(self.labels, logits)
            loss = tf.reduce_mean(losses)
        found = tape.gradient(loss, [variable.value for variable in variables])
        self.logits, self.loss = logits.numpy(), loss.numpy()
        self.gradients = {
            variable.path: tf.convert_to_tensor(gradient).numpy()
            for variable, gradient in zip(variables, found, strict=True)
        }
        self.statistics = {variable.path: variable.numpy() for variable in self.ours.batch_statistics}
        self._use_statistics_of_the_batch()
        self.inferred = self.ours(self.other_images, training=False).numpy()

    def _use_statistics_of_the_batch(self) -> None:
        """Takes the averages' start away: with random averages the logits would hardly depend on the images."""
        for norm in norms(self.ours):
            for variable, least in ((norm.moving_mean, -np.inf), (norm.moving_variance, 0.01)):
                value = (value_in(self.statistics, variable) - 0.9 * value_in(self.before, variable)) / 0.1
                variable.assign(np.maximum(value, least))

    def _batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns images and labels: of eight batches the one farthest from a kink."""
        random = np.random.default_rng(3)
        shape = (self.case.batch, *self.case.size, 3)
        batches = [random.standard_normal(shape, np.float32) for _ in range(8)]
        theirs, _ = self.reference()
        images = max(batches, key=lambda images: to_kink(theirs, images))
        return images, random.integers(0, CLASSES, self.case.batch)

    def reference(self) -> tuple[TorchSupernet, list[Match]]:
        """Returns a reference with the weights and statistics from before the step, and what matches what."""
        theirs = make_theirs(self.case)
        matched = matches(self.ours, theirs)
        for match in matched:
            match.write(value_in(self.before, match.variable))
        return theirs, matched

    def compare(self, change: Callable[[TorchSupernet], None] = lambda theirs: None) -> dict[str, Pairs]:
        """Does the step with the reference, and returns both results.

        Args:
            change: spoils the reference, for controls.
        """
        theirs, matched = self.reference()
        with torch.no_grad():
            change(theirs)
        counts = {}  # of values that a variance is made of, by its id

        def count(module: nn.Module, inputs: tuple) -> None:
            counts[id(module.running_var)] = inputs[0].numel() // inputs[0].shape[1]

        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(count)
        masks = ArchitectureMasks(self.ours)
        logits = theirs(to_torch(self.images), masks.factors)
        loss = functional.cross_entropy(logits, torch.from_numpy(self.labels))
        loss.backward()
        results = {
            "logits": [("logits", self.logits, logits.detach().numpy())],
            "loss": [("loss", self.loss, loss.item())],
            "gradients": list(self._gradients(matched, masks)),
            "statistics": list(self._statistics(matched, counts)),
        }
        for match in matched:
            if whole(match.variable).path in self.statistics:
                match.write(np.asarray(match.variable))
        theirs.eval()
        with torch.no_grad():
            inferred = theirs(to_torch(self.other_images), masks.factors).numpy()
        return results | {"inference": [("logits", self.inferred, inferred)]}

    def _gradients(self, matched: list[Match], masks: ArchitectureMasks) -> Iterator[tuple]:
        """With g the gradient of w * M: that of w is g * M, and that of M, so of the real mask, g * w."""
        for match in matched:
            path = whole(match.variable).path
            if path in self.gradients:
                slopes = [torch.zeros_like(t) if t.grad is None else t.grad for t in match.tensors]
                gradient = match.in_our_layout(slopes)
                yield path, value_in(self.gradients, match.variable), gradient * match.mask
                if match.real_mask is not None:
                    yield (
                        whole(match.real_mask).path,
                        value_in(self.gradients, match.real_mask),
                        gradient * value_in(self.before, match.variable),
                    )
        for real_mask, leaf in masks.leaves:
            yield real_mask.path, self.gradients[real_mask.path], leaf.grad.numpy()

    def _statistics(self, matched: list[Match], counts: dict[int, int]) -> Iterator[tuple]:
        """PyTorch averages the unbiased variance, Keras the biased one: the new part differs by n / (n - 1)."""
        for match in matched:
            path = whole(match.variable).path
            if path in self.statistics:
                theirs = match.in_our_layout(
                    match.tensors
                )  # one row an edge, also where ours has one for all
                if id(match.tensors[0]) in counts:
                    kept = 0.9 * value_in(self.before, match.variable)
                    n = counts[id(match.tensors[0])]
                    theirs = kept + (theirs - kept) * (n - 1) / n
                ours = value_in(self.statistics, match.variable)
                yield path, np.broadcast_to(ours, theirs.shape), theirs


@functools.cache
def step_of(case: Case) -> Step:
    return Step(case)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take long on a busy machine, and there is little to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def step(request) -> Step:
    return step_of(request.param)


@pytest.fixture(scope="module")
def results(step) -> dict[str, Pairs]:
    return step.compare()


def test_every_variable_is_compared(step, results):
    theirs, matched = step.reference()
    sizes = collections.Counter()
    for match in matched:
        for variable in (match.variable, match.real_mask):
            if variable is not None:
                sizes[whole(variable).path] += math.prod(variable.shape)
    assert len({id(match.variable) for match in matched}) == len(matched)
    masks = {variable.path for variable in step.ours.architecture_masks}
    assert sizes == {v.path: math.prod(v.shape) for v in step.ours.variables if v.path not in masks}
    tensors = [id(tensor) for match in matched for tensor in match.tensors]
    others = [
        tensor for name, tensor in theirs.state_dict(keep_vars=True).items() if "num_batches" not in name
    ]
    assert sorted(tensors) == sorted(map(id, others))
    gradients, statistics = ([path for path, _, _ in results[name]] for name in ("gradients", "statistics"))
    assert set(gradients) == {variable.path for variable in step.ours.trainable_variables}
    assert set(statistics) == {variable.path for variable in step.ours.batch_statistics}


def test_logits_and_loss_in_training(results):
    assert difference(results["logits"]) < OF_VALUES
    assert difference(results["loss"]) < OF_VALUES


def test_gradients_of_every_variable(results):
    """Of weights, alpha and beta; of real masks by the straight-through estimator."""
    assert difference(results["gradients"]) < OF_GRADIENTS


def test_batch_statistics_after_a_step(results):
    assert difference(results["statistics"]) < OF_VALUES


def test_logits_in_inference(results):
    assert difference(results["inference"]) < OF_VALUES


def of_kind(theirs: TorchSupernet, kind: type[nn.Module]) -> list[nn.Module]:
    return [module for module in theirs.modules() if isinstance(module, kind)]


def shift_beta(theirs):
    theirs.beta[0][0] += 0.01


def exchange_operations(theirs):
    theirs.alpha[0][:, [0, 1]] = theirs.alpha[0][:, [1, 0]]


def exchange_edges(theirs):
    first, second = (theirs.cells[0].edges[edge].operations[0][1].weight for edge in (0, 1))
    first[:], second[:] = second.clone(), first.clone()


def mirror_a_kernel(theirs):
    kernel = theirs.cells[1].edges[0].operations[2][1].weight
    kernel[:] = kernel.flip(-1)


def restore_a_masked_weight(theirs):
    kernel = theirs.cells[0].preprocess[1][1].weight
    kernel[kernel == 0] = 0.1


def average_padding(theirs):
    for pool in of_kind(theirs, nn.AvgPool2d):
        pool.count_include_pad = True


def use_the_epsilon_of_keras(theirs):
    for norm in of_kind(theirs, nn.BatchNorm2d):
        norm.eps = 1e-3


def average_faster(theirs):
    for norm in of_kind(theirs, nn.BatchNorm2d):
        norm.momentum = 0.101


@pytest.mark.parametrize(
    ("change", "case"),
    [
        (shift_beta, ODD),
        (exchange_operations, ODD),
        (exchange_edges, ODD),
        (mirror_a_kernel, ODD),
        (restore_a_masked_weight, "masked"),
        (average_padding, ODD),
        (use_the_epsilon_of_keras, ODD),
    ],
)
def test_control_a_small_mistake_shows_in_all_results(change, case):
    results = step_of(CASES[case]).compare(change)
    assert difference(results.pop("gradients")) > 10 * OF_GRADIENTS
    assert min(difference(pairs) for pairs in results.values()) > 10 * OF_VALUES


def test_control_another_momentum_shows_in_the_statistics_alone():
    results = step_of(CASES[ODD]).compare(average_faster)
    assert difference(results.pop("gradients")) < OF_GRADIENTS
    assert [name for name, pairs in results.items() if difference(pairs) > OF_VALUES] == ["statistics"]
