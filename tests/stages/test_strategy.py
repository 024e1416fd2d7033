"""Devices: what is there is used, what is not there is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

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
