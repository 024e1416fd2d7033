"""A network that needs more memory than was asked for is refused before it is fine-tuned, and nothing is lost."""

from __future__ import annotations

import re

import pytest
from compare_runs import compare

import hmnas_tf
from hmnas_tf.runs.memory import TooLargeError
from hmnas_tf.storage.run_folder import read_results


@pytest.mark.slow
def test_a_run_that_is_refused_goes_on_with_another_limit(short, make_config, patterns, tmp_path):
    lines: list[str] = []
    with pytest.raises(TooLargeError) as raised:
        hmnas_tf.search(patterns, make_config(max_memory_kb=4), tmp_path / "run", say=lines.append)
    message = str(raised.value)
    kilobytes, artifact = re.search(
        r"^max_memory_kb=4 cannot be met: .* needs ([\d.]+) kB in (\w+)", message
    ).groups()
    needed = float(kilobytes)
    assert "goes on" in message
    assert f"memory: {needed:.1f} kB in {artifact}, of 4 kB asked for" in lines
    assert list(read_results(tmp_path / "run")["stages"]) == ["supernet", "searched"]
    enough = int(re.search(r"--max_memory_kb=(\d+) or 0", message)[1])
    assert 4 < needed <= enough < needed + 1
    result = hmnas_tf.search(patterns, make_config(max_memory_kb=enough), tmp_path / "run", say=lines.append)
    assert result.results["artifacts"][artifact]["memory_bytes"] == pytest.approx(1000 * needed, abs=50)
    differing, _ = compare(tmp_path / "run", short.workdir)
    assert differing == []
