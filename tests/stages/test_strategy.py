"""Devices: what is there is used, what is not there is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.data.experimental.ops import distribute

from hmnas_tf.stages import strategy
from hmnas_tf.stages.strategy import make_strategy

pytestmark = pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="counts CPUs")


@pytest.mark.parametrize("replicas", [0, 1])
def test_without_a_gpu_it_is_one_cpu(replicas):
    assert make_strategy(replicas).num_replicas_in_sync == 1


def test_more_replicas_than_devices_are_refused():
    with pytest.raises(ValueError, match="replicas=3, but only 1 CPU") as caught:
        make_strategy(3)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cores", "variable", "before", "threads"),
    [
        (1, None, "", 1),
        (8, None, "", 1),
        (9, None, "", 2),
        (64, None, "", 8),
        (9, "3", "", 0),  # TensorFlow takes the variable where nothing is set
        (9, None, "tf.constant(0)", 0),
    ],
)
def test_an_operation_has_a_thread_for_every_eight_cores(cores, variable, before, threads):
    program = f"""
import os
from unittest import mock
import tensorflow as tf
from hmnas_tf.stages.strategy import configure_cpu
{before}
with mock.patch.object(os, "sched_getaffinity", lambda _: set(range({cores}))):
    configure_cpu()
print(tf.config.threading.get_intra_op_parallelism_threads(), tf.config.optimizer.get_experimental_options())
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("TF_NUM_INTRAOP_THREADS", None)
    if variable:
        environment["TF_NUM_INTRAOP_THREADS"] = variable
    shown = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert shown.startswith(f"{threads} ")
    assert "'disable_meta_optimizer': True" in shown


@pytest.mark.parametrize("per_worker", [1, 2])
def test_a_worker_knows_what_tensorflow_deals_to_it(per_worker, monkeypatch):
    """By the operations that a strategy over workers applies to a stream."""
    numbers, replicas = np.arange(16), 2 * per_worker
    for index in range(2):
        task = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": index}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(task))
        own = strategy.own_part(SimpleNamespace(num_replicas_in_sync=replicas), 8)
        stream = tf.data.Dataset.from_tensor_slices(numbers).batch(8, drop_remainder=True)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        sizes = distribute.batch_sizes_for_worker(8, 2, per_worker, index)
        dealt = distribute._AutoShardDataset(stream.with_options(options).rebatch(sizes), 2, index, replicas)
        found = np.concatenate(list(dealt.as_numpy_iterator()))
        assert found.tolist() == numbers.reshape(2, 8)[:, own].ravel().tolist()


def test_who_is_alone_computes_on_everything(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert strategy.own_part(SimpleNamespace(num_replicas_in_sync=2), 8) is None
