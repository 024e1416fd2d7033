"""One process of tools/benchmark.py: builds one network in one framework and does single steps when told to.

It reads names of tasks from standard input, a line each, and answers each with a line of JSON. Before that it writes an
empty answer after its first step, and what was built; and when the input ends, the peak of its memory.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hmnas_tf.console.cores import cores

ROOT = Path(__file__).parents[1]
CLASSES, CELLS = 10, 3
IMAGES, BATCHES = 4096, 50  # of which the input pipeline makes so many batches
PARTIAL_CHANNELS = 2
MATRIX = 2048  # rows and columns of the product that tells the machine's ceiling
Tasks = dict[str, Callable[[], Any]]


def batch_of(case: dict[str, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images [batch, size, size, channels] and labels [batch]."""
    random = np.random.default_rng(seed)
    shape = (case["batch"], case["size"], case["size"], case["image_channels"])
    return (
        random.standard_normal(shape).astype(np.float32),
        random.integers(CLASSES, size=shape[0]).astype(np.int32),
    )


class Ours:
    """The project's supernet, trained by the project's stages with the paper's settings, on threads as its commands.

    Args:
        case: value of `CASES` in benchmark.py.
        recompute: as the flag.
        partial_channels: as the flag.
    """

    def __init__(self, case: dict[str, int], *, recompute: bool = False, partial_channels: int = 1):
        import keras
        import tensorflow as tf

        from hmnas_tf.config import Config
        from hmnas_tf.networks.supernet import Supernet
        from hmnas_tf.settings.paper import PAPER_OPERATIONS
        from hmnas_tf.space.topology import Topology
        from hmnas_tf.stages.strategy import configure_cpu, make_strategy

        configure_cpu()
        keras.utils.set_random_seed(0)
        self.case, self.config = case, Config()
        self.strategy = make_strategy(1)
        self.batches = [tuple(map(tf.constant, batch_of(case, seed))) for seed in (0, 1)]
        topology = Topology(
            initial_channels=case["channels"],
            cells=CELLS,
            nodes=case["nodes"],
            operations=PAPER_OPERATIONS,
            stem="cifar",
            partial_channels=partial_channels,
        )
        self._built: dict[str, int] = {}  # the size of the supernet
        self._graphs: dict[str, Any] = {}  # of tasks
        self.image_shape = (case["size"], case["size"], case["image_channels"])
        with self.strategy.scope():
            self.supernet = Supernet(topology, CLASSES, recompute=recompute)
            self.supernet.build((None, *self.image_shape))

    def _compiled(self, name: str, function: Callable, *args: Any) -> Callable[[], Any]:
        import tensorflow as tf

        step = tf.function(lambda *args: self.strategy.run(function, args=args), autograph=False)
        self._graphs[name] = step.get_concrete_function(*args).graph
        return lambda: tf.nest.map_structure(np.asarray, step(*args))

    def built(self) -> dict[str, int]:
        """Returns the nodes of the graph of each task with all its functions, and the size of the supernet."""
        nodes = {}
        for name, graph in self._graphs.items():
            written = graph.as_graph_def()
            nodes[name] = len(written.node) + sum(len(f.node_def) for f in written.library.function)
        return nodes | self._built

    def search(self) -> Tasks:
        """A step with and one without an architecture step, and the input pipeline."""
        from hmnas_tf.networks.counting import parameters, supernet_multiply_adds
        from hmnas_tf.stages.optimizers import SGD, Adam
        from hmnas_tf.stages.supernet_training import SupernetTraining

        config = self.config
        with self.strategy.scope():
            stage = SupernetTraining(
                self.supernet,
                weight_optimizer=SGD(config.weight_learning_rate, config.weight_momentum),
                architecture_optimizer=Adam(
                    config.architecture_learning_rate,
                    beta_1=config.architecture_beta_1,
                    beta_2=config.architecture_beta_2,
                ),
                decisions=np.array([False, True]),
                weight_decay=config.weight_decay,
                gradient_clip=config.gradient_clip,
                architecture_decay=config.architecture_decay,
            )
        step = self._compiled("search", stage.train_step, tuple(self.batches))
        self._built["parameters"] = parameters(self.supernet.network_weights)
        self._built["multiply_adds"] = supernet_multiply_adds(self.supernet)

        def decided(iteration: int) -> Any:  # the decision is looked up by the number of the step
            stage.optimizer.iterations.assign(iteration)
            return step()

        return {
            "search": lambda: decided(1),
            "weights": lambda: decided(0),
            "half": lambda: (decided(1), decided(0)),
            "pipeline": self._pipeline(),
        }

    def _pipeline(self) -> Callable[[], Any]:
        """Returns what makes batches of training images as a search of CIFAR-10 does, and nothing else."""
        from hmnas_tf.data.pipeline import training_batches

        random = np.random.default_rng(0)
        channels = self.image_shape[-1]
        batches = training_batches(
            random.integers(256, size=(IMAGES, *self.image_shape), dtype=np.uint8),
            random.integers(CLASSES, size=IMAGES),
            batch_size=self.case["batch"],
            start_step=0,
            total_steps=10**6,
            seed=0,
            augmentation=("crop", "flip"),
            mean=(0.5,) * channels,
            std=(0.25,) * channels,
        )
        iterator = iter(batches)
        return lambda: [next(iterator) for _ in range(BATCHES)]

    def mask(self) -> Tasks:
        """A step of mask search."""
        from hmnas_tf.stages.mask_search import MaskSearch
        from hmnas_tf.stages.optimizers import Adam

        with self.strategy.scope():
            stage = MaskSearch(
                self.supernet,
                weight_mask_optimizer=Adam(self.config.weight_mask_rate),
                architecture_mask_optimizer=Adam(self.config.architecture_mask_rate),
            )
        return {"mask": self._compiled("mask", stage.train_step, self.batches[0])}

    def pruned(self) -> Tasks:
        """A step of mask search after half of all operations have gone for good."""
        from hmnas_tf.layers.activity import ACTIVE, GONE

        self._mask_half()
        gone = [encoding.operation_mask.numpy() == 0.0 for encoding in self.supernet.encodings]
        self.supernet.set_activity([np.where(table, GONE, ACTIVE) for table in gone])
        return self.mask()

    def _mask_half(self) -> None:
        random = np.random.default_rng(2)
        for encoding in self.supernet.encodings:
            kept = random.random(encoding.operation_mask.shape) < 0.5
            encoding.operation_mask.assign(np.where(kept, 1e-2, 0.0))

    def derived(self) -> Tasks:
        """A step of fine-tuning, and inference, of the network that masks of about half of all operations leave."""
        return self._finetuned(self._half())

    def by_hand(self, name: str) -> Tasks:
        """The same of a network made by hand, as wide as the multiply-adds of that network allow."""
        from hmnas_tf.networks import counting, handmade

        most = counting.size_of(self._half())["flops"]
        with self.strategy.scope():
            network = handmade.of_size(name, self.image_shape, CLASSES, {"flops": most})
        return self._finetuned(network)

    def _half(self) -> Any:
        from hmnas_tf.derivation.derive import derive
        from hmnas_tf.derivation.rules import genotype_of

        self._mask_half()
        with self.strategy.scope():
            return derive(self.supernet, genotype_of(self.supernet, "masks", 0), self.image_shape)

    def _finetuned(self, network: Any) -> Tasks:
        from hmnas_tf.derivation.fast_network import fast_network
        from hmnas_tf.stages.fine_tuning import FineTuning
        from hmnas_tf.stages.optimizers import SGD

        config = self.config
        with self.strategy.scope():
            stage = FineTuning(
                fast_network(network),
                optimizer=SGD(config.finetune_learning_rate, config.weight_momentum),
                weight_decay=config.weight_decay,
                gradient_clip=config.gradient_clip,
            )
        images = self.batches[0][0]
        return {
            "finetune": self._compiled("finetune", stage.train_step, self.batches[0]),
            "inference": self._compiled("inference", lambda x: network(x, training=False), images),
        }


class Product:
    """The product of two matrices on a thread a core: what the machine can do."""

    def __init__(self, case: dict[str, int]):
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(cores())
        a, b = (tf.random.normal((MATRIX, MATRIX), seed=seed) for seed in (0, 1))
        self._product = tf.function(lambda: tf.reduce_sum(tf.matmul(a, b)))

    def built(self) -> dict[str, int]:
        """Returns nothing: there is no network."""
        return {}

    def matrices(self) -> Tasks:
        """The product."""
        return {"product": lambda: self._product().numpy()}


class Theirs:
    """The supernet of tests/parity in PyTorch, in the layout and with the calls that were fastest on a CPU."""

    def __init__(self, case: dict[str, int]):
        sys.path.insert(0, str(ROOT / "tests" / "parity"))
        import torch
        from reference import Supernet

        from hmnas_tf.config import Config
        from hmnas_tf.settings.paper import PAPER_OPERATIONS

        torch.set_num_threads(cores())
        torch.set_num_interop_threads(1)
        torch.set_flush_denormal(True)
        torch.manual_seed(0)
        self.config = Config()
        self.network = Supernet(
            case["channels"],
            CELLS,
            CLASSES,
            PAPER_OPERATIONS,
            nodes=case["nodes"],
            image_channels=case["image_channels"],
        ).to(memory_format=torch.channels_last)
        self.batches = [
            (
                torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last),
                torch.from_numpy(labels).long(),
            )
            for images, labels in (batch_of(case, seed) for seed in (0, 1))
        ]

    def built(self) -> dict[str, int]:
        """Returns nothing: there is no graph."""
        return {}

    def eager(self) -> Tasks:
        """The steps as Python runs them."""
        return self._tasks(self.network)

    def compiled(self) -> Tasks:
        """The same under torch.compile."""
        import torch

        return {"search": self._tasks(torch.compile(self.network))["search"]}

    def _tasks(self, network: Any) -> Tasks:
        import torch
        from torch.nn.functional import cross_entropy

        config = self.config
        architecture = [*self.network.alpha, *self.network.beta]
        known = set(map(id, architecture))
        weights = [p for p in self.network.parameters() if id(p) not in known]
        betas = (config.architecture_beta_1, config.architecture_beta_2)
        adam = torch.optim.Adam(
            architecture,
            config.architecture_learning_rate,
            betas,
            weight_decay=config.architecture_decay,
            foreach=True,
        )
        sgd = torch.optim.SGD(
            weights,
            config.weight_learning_rate,
            config.weight_momentum,
            weight_decay=config.weight_decay,
            foreach=True,
        )

        def step(optimizer: Any, variables: list, batch: tuple) -> float:
            images, labels = batch
            loss = cross_entropy(network(images), labels)
            # Asked for these only, so that no other gradient is computed on the way.
            for variable, gradient in zip(variables, torch.autograd.grad(loss, variables), strict=True):
                variable.grad = gradient
            if optimizer is sgd:
                torch.nn.utils.clip_grad_norm_(variables, config.gradient_clip, foreach=True)
            optimizer.step()
            return loss.item()

        def search() -> float:
            step(adam, architecture, self.batches[1])
            return step(sgd, weights, self.batches[0])

        def inference() -> Any:
            self.network.eval()
            with torch.inference_mode():
                result = network(self.batches[0][0]).numpy()
            self.network.train()
            return result

        return {
            "search": search,
            "weights": lambda: step(sgd, weights, self.batches[0]),
            "half": lambda: (search(), step(sgd, weights, self.batches[0])),
            "inference": inference,
        }


KINDS = {  # name of a process: what it builds, which of its tasks it does, and of what
    "search": (Ours, "search"),
    "recompute": (functools.partial(Ours, recompute=True), "search"),
    "partial": (functools.partial(Ours, partial_channels=PARTIAL_CHANNELS), "search"),
    "mask": (Ours, "mask"),
    "pruned": (Ours, "pruned"),
    "derived": (Ours, "derived"),
    "resnet8": (Ours, "by_hand", "resnet8"),
    "mobilenet": (Ours, "by_hand", "mobilenet"),
    "product": (Product, "matrices"),
    "pytorch": (Theirs, "eager"),
    "pytorch compiled": (Theirs, "compiled"),
}


def timed(task: Callable[[], Any]) -> dict[str, float]:
    """Returns seconds on the clock and of all processor cores that a step took."""
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def most_memory() -> int:
    """Returns the most bytes of memory that this process had; `getrusage` counts those of who started it as well."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[1])


def say(**values: Any) -> None:
    """Answers with one line."""
    print(json.dumps(values), flush=True)


def main(kind: str, case: str) -> None:
    """Does what standard input asks for."""
    made, tasks_of, *of = KINDS[kind]
    side = made(json.loads(case))
    tasks = getattr(side, tasks_of)(*of)
    next(iter(tasks.values()))()
    say()
    say(**side.built())
    for line in sys.stdin:
        say(**timed(tasks[line.strip()]))
    say(peak=most_memory())


if __name__ == "__main__":
    main(*sys.argv[1:])
