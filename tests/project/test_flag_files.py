"""Every flag file becomes a valid Config through the real flags, and says what it follows, costs and should give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from absl import flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hmnas_tf import ablate, command_line, tune
from hmnas_tf.ablation.ablation import VARIANTS
from hmnas_tf.config import Config
from hmnas_tf.data.augmentation import stored_size
from hmnas_tf.runs import choices, preflight

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "flags").glob("*.flags"))
COMMANDS = {
    "ablation_fashion_mnist": "ablate",
    "budget_cifar10": "ablate",
    "budget_fashion_mnist": "ablate",
    "tuning": "tune",
}  # all others are for `search`
PAPER = ("cifar10", "cifar10_second_order", "imagenet")

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture
def parse(monkeypatch):
    """Returns what turns a command line into a Config, as the command does."""
    private = flags.FlagValues()
    monkeypatch.setattr(command_line, "FLAGS", private)
    command_line.define_flags(private)
    ablate.define_flags(private)
    tune.define_flags(private)

    def parse(*arguments: str) -> Config:
        rest = command_line.parse("search", ["search", *arguments])
        assert rest == ["search"], "a line without dashes was taken for a word"
        config = command_line.config_of_flags(private)
        choices.check_names(config)
        return config

    return parse


def head_and_lines(path: Path) -> tuple[str, list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if line.startswith("#")]
    return "\n".join(comments), lines[len(comments) :]


def test_the_flag_files_of_the_interface_are_there():
    names = {path.stem for path in FILES}
    assert {"quickstart", "fashion_mnist", "cifar10", "cifar10_second_order", "imagenet"} <= names


@each_file
def test_a_flag_file_is_valid(parse, path):
    config = parse(f"--flagfile={path}")
    preflight.topology_of(config)


@each_file
def test_every_line_is_one_flag_given_once_without_a_trailing_comment(path):
    _, lines = head_and_lines(path)
    assert lines
    names = []
    for line in lines:
        match = re.fullmatch(r"--([a-z0-9_]+)=([^\s#]+)", line)
        assert match, f"expected --name=value, received {line!r}"
        names.append(match[1])
    assert len(set(names)) == len(names)


@each_file
def test_the_head_says_what_to_type_what_it_follows_costs_and_gives(path):
    head, _ = head_and_lines(path)
    command = COMMANDS.get(path.stem, "search")
    assert f"python -m hmnas_tf.{command} --flagfile=flags/{path.name}" in head
    for word in ("Follows:", "Costs:", "Expect:"):
        assert len(re.findall(rf"^# {word} +\S", head, re.MULTILINE)) == 1, word


@each_file
def test_a_run_folder_is_named_in_the_command_or_in_the_file(path):
    head, lines = head_and_lines(path)
    in_file = [line for line in lines if line.startswith("--workdir=runs/")]
    in_head = re.findall(r"--workdir=runs/\S+", head)
    assert len(in_file) + len(in_head) == 1


def test_the_defaults_are_those_of_cifar10(parse):
    """Config says its defaults are the paper's CIFAR-10 settings; the file says what those are."""
    config = parse(f"--flagfile={ROOT / 'flags' / 'cifar10.flags'}").to_dict()
    default = Config().to_dict()
    assert default.pop("augmentation") == ["auto"]
    assert config.pop("augmentation") == ["crop", "flip", "cutout"]
    assert config == default


def test_second_order_differs_in_the_gradient_only(parse):
    first, second = (
        parse(f"--flagfile={ROOT / 'flags' / name}").to_dict()
        for name in ("cifar10.flags", "cifar10_second_order.flags")
    )
    different = {name for name in first if first[name] != second[name]}
    assert different == {"architecture_gradient"}
    assert second["architecture_gradient"] == "second_order"


@pytest.mark.parametrize("variant", [name for name in VARIANTS if not VARIANTS[name].by_hand])
def test_every_row_of_the_ablations_has_a_file_that_is_its_variant(parse, variant):
    config = parse(f"--flagfile={ROOT / 'flags' / f'ablation_{variant}.flags'}").to_dict()
    whole = parse(f"--flagfile={ROOT / 'flags' / 'cifar10_second_order.flags'}").to_dict()
    of_darts = {"evaluation_cells": 20, "evaluation_channels": 36, "drop_path": 0.2, "auxiliary_weight": 0.4}
    expected = whole | dict(VARIANTS[variant].changes)
    expected |= of_darts if VARIANTS[variant].at_evaluation_scale else {}
    expected |= {"finetune_epochs": 600} if VARIANTS[variant].from_scratch else {}
    assert config == expected


def test_imagenet_is_the_papers(parse):
    config = parse(f"--flagfile={ROOT / 'flags' / 'imagenet.flags'}")
    assert (config.cells, config.initial_channels, config.stem, config.image_size) == (5, 24, "imagenet", 224)
    assert (config.finetune_epochs, config.finetune_learning_rate) == (60, 0.01)
    assert config.finetune_schedule == "step"
    # DARTS' evaluation on ImageNet
    assert (config.label_smoothing, config.weight_decay, config.auxiliary_weight) == (0.1, 3e-5, 0.4)
    assert (config.finetune_batch_size, config.gradient_clip, config.weight_momentum) == (128, 5, 0.9)
    assert config.augmentation == ("random_resized_crop", "flip", "color_jitter")
    assert stored_size(config.image_size, config.augmentation) == 256
    preflight.final_topology(config)


def test_imagenets_head_says_of_each_line_where_it_is_from():
    head, lines = head_and_lines(ROOT / "flags" / "imagenet.flags")
    told = re.findall(r"--(\w+)", head[head.index("Follows:") : head.index("Differs:")])
    told.remove("seed")
    assert sorted(told) == sorted(line[2:].partition("=")[0] for line in lines)


def test_mlperf_tinys_size_is_asked_for(parse):
    config = parse(f"--flagfile={ROOT / 'flags' / 'cifar10_80k.flags'}")
    assert config.budgets == {"parameters": 78_000, "multiply_adds": 12_500_000}


@pytest.mark.parametrize("name", PAPER)
def test_files_that_follow_a_table_use_the_papers_mask_rates(parse, name):
    config = parse(f"--flagfile={ROOT / 'flags' / name}.flags")
    assert (config.mask_rates, config.weight_mask_rate, config.architecture_mask_rate) == (
        "absolute",
        1e-4,
        1e-5,
    )
    assert (config.mask_drop_at, config.mask_drop_factor, config.mask_epochs) == (0.5, 10.0, 20)


def test_what_follows_the_flag_file_wins(parse):
    config = parse(
        f"--flagfile={ROOT / 'flags' / 'fashion_mnist.flags'}", "--train_examples=100", "--cells=5"
    )
    assert (config.dataset, config.train_examples, config.cells) == ("fashion_mnist", 100, 5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--suprnet_epochs=3"], "suprnet_epochs"),
        (["--stem=vgg"], "--stem=vgg"),
        (["--edge_softmax=all"], "<dag|node|none>"),
        (["--initial_channels=0"], "--initial_channels=0"),
        (["--mask_drop_factor=0.5"], "--mask_drop_factor=0.5"),
        (["--batch_size=many"], "--batch_size=many"),
        (["--flagfile=nowhere.flags"], "nowhere.flags"),
    ],
)
def test_a_bad_flag_is_one_line_that_names_it(parse, capsys, arguments, named):
    with pytest.raises(SystemExit) as raised:
        parse(*arguments)
    assert raised.value.code == 2
    line = capsys.readouterr().err
    assert named in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--warmup_epochs=5", "--supernet_epochs=5"], ["warmup_epochs=5", "supernet_epochs=5", "smaller"]),
        (["--threshold=0.02"], ["threshold=0.02", "0.01"]),
        (["--initial_channels=7"], ["initial_channels=7", "even"]),
        (["--operations=identity,identity"], ["operations=", "different"]),
        (["--operations=identity,conv_7x7"], ["conv_7x7", "sep_conv_3x3"]),
        (["--formats=h5"], ["formats=", "h5", "saved_model"]),
        (["--augmentation=auto,flip"], ["auto,flip", "alone"]),
        (["--genotype=DARTS_V2"], ["genotype='DARTS_V2'", "initial_weights='random'"]),
        (["--evaluation_cells=20"], ["evaluation_cells=20", "initial_weights='random'"]),
        (["--evaluation_channels=3"], ["evaluation_channels=3", "even"]),
    ],
)
def test_a_bad_setting_names_the_flag_the_value_and_the_remedy(parse, arguments, words):
    with pytest.raises(ValueError, match="=") as raised:
        parse(*arguments)
    assert [word for word in words if word not in str(raised.value)] == []


def test_help_of_every_flag_is_one_sentence(parse):
    private = command_line.FLAGS
    names = {"variants", "trials", "workdir", *Config().to_dict()}
    assert names < set(private)
    for name in private:
        text = re.sub(r"^<.*?>: ", "", private[name].help)  # absl puts the choices of an enum in front
        assert re.fullmatch(r"[A-Z].*[.)]", text), f"{name}: {text}"
        assert len(text) < 240, name


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_file_is_read_or_refused_in_one_line(parse, capsys, tmp_path, content):
    (tmp_path / "any.flags").write_bytes(content)
    try:
        parse(f"--flagfile={tmp_path / 'any.flags'}")
    except SystemExit as end:
        assert end.code == 2
        assert capsys.readouterr().err.count("\n") == 1
    except (ValueError, AssertionError):  # a setting or a word that the command itself refuses
        pass


def test_files_may_name_others_but_not_themselves(parse, capsys, tmp_path):
    (tmp_path / "a.flags").write_text(f"--cells=5\n--flagfile={tmp_path / 'b.flags'}\n")
    (tmp_path / "b.flags").write_text("// more\n--nodes=2\n")
    config = parse("--flagfile", str(tmp_path / "a.flags"), "--cells=6")
    assert (config.cells, config.nodes) == (6, 2)
    (tmp_path / "b.flags").write_text(f"--flagfile={tmp_path / 'a.flags'}\n")
    with pytest.raises(SystemExit):
        parse(f"--flagfile={tmp_path / 'a.flags'}")
    assert "names itself" in capsys.readouterr().err
