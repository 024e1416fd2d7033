"""Devices: what is there is used, what is not there is refused."""

from __future__ import annotations

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
