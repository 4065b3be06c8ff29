"""This process as one worker of a training, or as the only one."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from keras_retina.data.records import Dataset, PackedImage
from keras_retina.foundation.errors import InputError, WorkerLostError
from keras_retina.foundation.files.reading import file_size, sha256_of
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.machine import package_version
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.recipe import Recipe, dump_recipe
from keras_retina.train.workers.cluster import Cluster
from keras_retina.train.workers.collective import gather_json
from keras_retina.train.workers.devices import multi_worker_strategy
from keras_retina.train.workers.logs import worker_log
from keras_retina.train.workers.meeting import differences, meet

logger = logging.getLogger(__name__)

ABORTED = "Collective ops is aborted"
"""What TensorFlow says on the workers that are left when one is gone, in errors of several kinds."""
MEASURED_FILES = 1000
SHOWN_DIGITS = 12

Datasets = TypeVar("Datasets", bound=Mapping[str, Dataset])


@dataclass(frozen=True)
class Job:
    """The part of this process in a training.

    Attributes:
        cluster: None where it trains alone; the rest is then not there either.
        strategy: over the devices of all workers.
        train_dir: where this worker keeps checkpoints, history and best weights: the chief in the run folder, the
            others in a folder of their own, which starts as a copy and is deleted in the end. All write the same at the
            same time, since reading the statistics of BatchNorm for a checkpoint takes every worker.
    """

    cluster: Cluster | None = None
    strategy: tf.distribute.Strategy | None = None
    train_dir: Path | None = None

    @property
    def is_chief(self) -> bool:
        """Tells whether this process writes the files and goes on after the training."""
        return self.cluster is None or self.cluster.is_chief

    def agree_on_data(self, load: Callable[[], Datasets]) -> Datasets:
        """Returns what `load` returns, when it is the same on all workers.

        Raises:
            InputError: on all workers, if the data of one could not be read or differ.
        """
        if self.cluster is None:
            return load()
        try:
            datasets = load()
        except InputError as error:
            _tell(self.cluster, self.strategy, {"refused": str(error)})
            raise
        _tell(self.cluster, self.strategy, {"facts": {"data": digest_of_data(datasets)}})
        return datasets

    def agree_on_start(self, model: keras.Model, *, precision: str) -> None:
        """Compares the weights that the workers begin with, and the precision in which they compute.

        Raises:
            InputError: on all workers, if they differ, because the files of pretrained weights or the devices do.
        """
        if self.cluster is not None:
            digest = hashlib.sha256()
            for array in model.get_weights():
                digest.update(np.ascontiguousarray(array).tobytes())
            facts = {"weights to start from": digest.hexdigest()[:SHOWN_DIGITS], "precision": precision}
            _tell(self.cluster, self.strategy, {"facts": facts})


def _tell(cluster: Cluster, strategy: tf.distribute.Strategy, said: dict) -> None:
    """Tells all workers `facts` that must be equal, or what this one `refused`, which ends the others too."""
    everybody = gather_json(strategy, said)
    if "refused" in said:
        return  # it raises its own error
    for index, theirs in enumerate(everybody):
        if "refused" in theirs:
            raise InputError(f"workers: {cluster.name(index)} ended with this: {theirs['refused']}")
    different = differences(cluster, {index: theirs["facts"] for index, theirs in enumerate(everybody)})
    if different:
        raise InputError(different)


ALONE = Job()


@contextlib.contextmanager
def joined(cluster: Cluster | None, recipe: Recipe, *, run_dir: Path) -> Iterator[Job]:
    """Yields the part of this process in the training, after all workers met; writes `train/workers/<index>.log`.

    Raises:
        InputError: what `meet` refuses, or a batch that does not divide by the replicas.
        PortTakenError: another program has the port of this worker.
        WorkerLostError: a worker did not come, or went away while the block ran.
    """
    if cluster is None:
        yield ALONE
        return
    paths = RunPaths(run_dir)
    folder = paths.workers
    with contextlib.ExitStack() as stack:
        meet(cluster, facts_of(recipe), folder=folder, seconds=recipe.training.worker_timeout)
        stack.enter_context(worker_log(folder, cluster.index))
        logger.info(f"{cluster.name(cluster.index)}: all {len(cluster.addresses)} workers are there")
        train_dir = paths.train
        if not cluster.is_chief:
            train_dir = stack.enter_context(_copy_of(paths.train, cluster.index))
        try:
            strategy = multi_worker_strategy(cluster, recipe.training.batch_size)
            yield Job(cluster, strategy, train_dir)
        except (InputError, tf.errors.OpError) as error:
            if not is_of_lost_worker(error):
                raise
            raise WorkerLostError(
                "workers: the connection to another worker broke. The logs of all are in "
                f"{folder}. The same command on all of them goes on from the last checkpoint."
            ) from error


@contextlib.contextmanager
def _copy_of(train_dir: Path, index: int) -> Iterator[Path]:
    """Yields a temporary folder that starts as a copy of the chief's, and removes those of killed workers."""
    prefix = f"keras-retina-{sha256_of(str(train_dir.resolve()).encode())[:SHOWN_DIGITS]}-{index}-"
    for old in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix) as scratch:
        copy = Path(scratch) / "train"
        shutil.copytree(train_dir, copy, ignore=shutil.ignore_patterns("workers", "tensorboard", ".*"))
        yield copy


def is_of_lost_worker(error: BaseException | None) -> bool:
    """Tells whether an error, or one that it follows from, is that another worker is gone.

    Reading a variable for a checkpoint may be what fails, so that it looks like a disk that is full.
    """
    while error is not None:
        if isinstance(error, tf.errors.UnavailableError) or ABORTED in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def facts_of(recipe: Recipe) -> dict[str, str]:
    """Returns what must be equal on all workers before they connect."""
    return {
        "recipe": sha256_of(dump_recipe(recipe).encode())[:SHOWN_DIGITS],
        "keras-retina": package_version(),
        "TensorFlow": tf.__version__,
    }


def digest_of_data(datasets: Mapping[str, Dataset]) -> str:
    """Returns a digest of all labels, of the names and sizes of the images, and of the bytes of up to 1000 files."""
    digest = hashlib.sha256()
    for split, dataset in sorted(datasets.items()):
        digest.update(repr((split, dataset.class_names, dataset.category_ids, len(dataset.records))).encode())
        every = max(1, len(dataset.records) // MEASURED_FILES)
        for number, record in enumerate(dataset.records):
            digest.update(repr((record.image_id, record.file_name, record.height, record.width)).encode())
            for array in (record.boxes, record.classes, record.crowd):
                digest.update(np.ascontiguousarray(array).tobytes())
            if isinstance(record.path, PackedImage):
                digest.update(str(record.path.checksum).encode())
            elif number % every == 0:
                digest.update(str(file_size(record.path)).encode())
    return digest.hexdigest()[:SHOWN_DIGITS]
