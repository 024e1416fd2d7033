"""Names are known without loading what has them, and as they are once it is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hmnas_tf.console.names import NamesOf, require_known

ROOT = Path(__file__).parents[2]


def test_names_are_read_in_order_without_loading_the_module():
    code = (
        "import sys\n"
        "from hmnas_tf.ablate import VARIANTS\n"
        "print(list(VARIANTS), 'tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['multi_level_masks', 'multi_level_top2'")
    assert done.stdout.endswith("False False\n")


def test_a_loaded_dictionary_counts_as_it_is(monkeypatch):
    from hmnas_tf.stages.update_schedules import UPDATE_SCHEDULES

    names = NamesOf("hmnas_tf.stages.update_schedules", "UPDATE_SCHEDULES", also=("more",))
    assert "own" not in names
    monkeypatch.setitem(UPDATE_SCHEDULES, "own", lambda: None)
    assert {"own", "more", "cosine"} <= set(names)
    assert len(names) == len(UPDATE_SCHEDULES) + 1


def test_a_dictionary_that_is_not_there_is_an_error():
    with pytest.raises(LookupError, match="NOTHING"):
        NamesOf("hmnas_tf.tuning.leaderboard", "NOTHING")._read()


def test_unknown_words_are_refused_with_what_is_known():
    require_known("tuner", ["a"], ["a", "b"])
    with pytest.raises(ValueError, match="tuner='c': 'c' is none of a, b"):
        require_known("tuner", ["c"], ["b", "a"])
    for words in (["a", "a"], [], ["c"]):
        with pytest.raises(ValueError, match="expected different ones of b, a, at least one"):
            require_known("rows", words, ["b", "a"], different=True)
