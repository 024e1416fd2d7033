# What a type checker sees of the package: `__init__.py` loads these names on first use only.

from typing import Final

from hmnas_tf import layers as layers
from hmnas_tf.algorithm import search as search
from hmnas_tf.config import Config as Config
from hmnas_tf.data import ImageDataset as ImageDataset
from hmnas_tf.data import dataset_from as dataset_from
from hmnas_tf.data import load_dataset as load_dataset
from hmnas_tf.runs.publication import SearchResult as SearchResult

__version__: Final[str]
