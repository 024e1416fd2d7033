"""All of flags/imagenet.flags on a tiny set of the same form: 1,000 classes, pictures of many sizes, from disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from forked import ROOT, STAGES, Command
from PIL import Image
from test_kills import kill

pytestmark = pytest.mark.slow

CLASSES = 1000
# Sizes and epochs only. Everything else is as it stands in the file.
LESS = (
    "--initial_channels=4",
    "--nodes=1",
    "--operations=sep_conv_3x3,identity",
    "--batch_size=32",
    "--supernet_epochs=1",
    "--warmup_epochs=0",
    "--mask_epochs=1",
    "--finetune_epochs=1",
    "--evaluate_every=0",
    "--checkpoint_steps=1",
    "--formats=keras",
)


@pytest.fixture(scope="module")
def builder() -> tfds.core.DatasetBuilder:
    return tfds.builder("imagenet2012", try_gcs=False)


@pytest.fixture(scope="module")
def names(builder) -> Sequence[str]:
    """The names of ImageNet's classes."""
    assert builder.info.features["label"].num_classes == CLASSES
    return builder.info.features["label"].names


def drawn(part: str) -> Iterator[tuple[int, Image.Image]]:
    """One picture of each class, wide or high, whose colour is the class's."""
    random = np.random.default_rng(len(part))
    for label in range(CLASSES):
        colour = np.array([label % 10, label // 10 % 10, label // 100]) * 25
        pixels = np.clip(colour + random.integers(-9, 35, (*random.integers(20, 60, 2), 3)), 0, 255)
        yield label, Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def folder(names, tmp_path_factory) -> str:
    """The set as files."""
    root = tmp_path_factory.mktemp("folder") / "pictures"
    for part in ("train", "val"):
        for label, image in drawn(part):
            path = root / part / names[label] / "picture.jpg"
            path.parent.mkdir(parents=True)
            image.save(path)
    return f"--dataset=folder:{root}"


@pytest.fixture(scope="module")
def prepared(builder, names, tmp_path_factory) -> str:
    """The set as TFDS has it: splits train and validation, JPEG of any size."""
    root = tmp_path_factory.mktemp("tfds")
    with tfds.core.registered.skip_registration():

        class Tiny(tfds.core.GeneratorBasedBuilder):
            name = builder.name
            VERSION = builder.version

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=names),
                    "file_name": tfds.features.Text(),
                }
                return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

            def _split_generators(self, dl_manager):
                return {part: self._generate_examples(part) for part in ("train", "validation")}

            def _generate_examples(self, part):
                for label, image in drawn(part):
                    yield label, {"image": np.asarray(image), "label": label, "file_name": f"{label}.JPEG"}

    tfds.disable_progress_bar()
    Tiny(data_dir=str(root)).download_and_prepare()
    return f"--data_dir={root}"


@pytest.fixture(scope="module")
def typed(tmp_path_factory) -> Callable[..., Sequence[str]]:
    cache = tmp_path_factory.mktemp("cache")
    flags = f"--flagfile={ROOT / 'flags' / 'imagenet.flags'}"
    return lambda run, place: (flags, f"--workdir={run}", f"--cache_dir={cache}", place, *LESS)


def assert_imagenet(run: Path, names: Sequence[str], command: Command) -> None:
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    dataset = results["dataset"]
    assert (dataset["image_shape"], dataset["resized"]) == ([224, 224, 3], 256)
    assert (dataset["train_examples"], dataset["test_examples"]) == (CLASSES, CLASSES)
    assert set(dataset["class_names"]) == set(names)
    assert len(set(results["search_classes"]) & set(names)) == 100
    assert list(results["stages"]) == list(STAGES)
    assert "Stage 3 of 3, fine-tuning: 1 epoch of 7 steps" in command.shown


def test_from_a_folder_and_killed_in_every_stage(typed, folder, names, tmp_path):
    for stage in STAGES:
        command = Command("search", typed(tmp_path / "run", folder), tmp_path / stage)
        kill(command, tmp_path / "run", stage, False, 0.02)
    command = Command("search", typed(tmp_path / "run", folder), tmp_path / "last")
    assert command.wait() == 0, command.complained
    assert "are kept on disk" in command.shown
    assert_imagenet(tmp_path / "run", names, command)


def test_from_tensorflow_datasets(typed, prepared, names, tmp_path):
    command = Command("search", typed(tmp_path / "run", prepared), tmp_path / "printed")
    assert command.wait() == 0, command.complained
    assert "are kept on disk" in command.shown
    assert_imagenet(tmp_path / "run", names, command)
