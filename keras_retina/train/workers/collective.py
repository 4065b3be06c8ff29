"""What the workers of a cluster do together: exchange bytes, feed one `fit`, and share out an evaluation."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from keras_retina.data.reading.order import WHOLE_BATCH, BatchShare
from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.predict import predict_dataset
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.spec import DetectorSpec


def is_cluster(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether a strategy spans several processes."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def batch_share_of(strategy: tf.distribute.Strategy) -> BatchShare:
    """Returns what this process reads of every global batch."""
    if not is_cluster(strategy):
        return WHOLE_BATCH
    resolver = strategy.cluster_resolver
    workers = resolver.cluster_spec().num_tasks("worker")
    return BatchShare(resolver.task_id, workers, strategy.num_replicas_in_sync)


def gather_bytes(strategy: tf.distribute.Strategy, data: bytes) -> list[bytes]:
    """Returns the bytes of every worker, in the order of the workers. All of them must call it."""
    words = np.frombuffer(data + bytes(-len(data) % 4), np.int32)  # collectives do not take single bytes
    sent = tf.constant(np.concatenate([[len(data)], words]).astype(np.int32))

    @tf.function
    def exchange() -> tf.Tensor:
        # The identity lies on the device of the replica, as the operation wants it.
        return tf.distribute.get_replica_context().all_gather(tf.identity(sent), axis=0)

    gathered = strategy.experimental_local_results(strategy.run(exchange))[0].numpy()
    parts, start = [], 0
    while start < len(gathered):
        length = int(gathered[start])
        end = start + 1 + -(-length // 4)
        parts.append(gathered[start + 1 : end].tobytes()[:length])
        start = end
    return parts[:: strategy.num_replicas_in_sync // batch_share_of(strategy).workers]  # each replica sent the same


def gather_json(strategy: tf.distribute.Strategy, value: Any) -> list[Any]:
    """Returns the value of every worker, in the order of the workers. All of them must call it."""
    packed = gather_bytes(strategy, zlib.compress(json.dumps(value).encode()))
    return [json.loads(zlib.decompress(one)) for one in packed]


def any_worker_of(strategy: tf.distribute.Strategy) -> Callable[[bool], bool]:
    """Returns a function from what this worker wants to whether any worker wants it. All of them must call it."""
    if not is_cluster(strategy):
        return bool

    @tf.function
    def votes(mine: tf.Tensor) -> tf.Tensor:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(mine))

    def any_worker(wanted: bool) -> bool:
        total = strategy.run(votes, args=(tf.constant(float(wanted)),))
        return float(strategy.experimental_local_results(total)[0]) > 0

    return any_worker


def distributed_batches(strategy: tf.distribute.Strategy, batches: tf.data.Dataset) -> Any:
    """Returns what `fit` takes: the batches themselves, or on a cluster the share of this worker as part of the whole.

    `batches` are endless. On a cluster they are those of one replica (`BatchShare`), and Keras would divide them again.
    """
    if not is_cluster(strategy):
        return batches
    # Endless by name: otherwise the workers ask each other before every step whether there is one more.
    endless = batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return strategy.distribute_datasets_from_function(lambda _: endless)


def on_this_worker(strategy: tf.distribute.Strategy, model: keras.Model) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns model(images, training=False) that asks no other worker.

    Outside a replica, reading the statistics of BatchNorm is a sum over all workers, for which they would have to look
    at the same number of batches.
    """

    def outputs(images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        found = strategy.run(lambda: model(images, training=training))
        return {name: strategy.experimental_local_results(value)[0] for name, value in found.items()}

    return outputs


def predict_on_all(
    strategy: tf.distribute.Strategy,
    detect: Callable[[np.ndarray], dict[str, np.ndarray]],
    spec: DetectorSpec,
    *,
    dataset: Dataset,
    load: Callable[[Record, DetectorSpec], np.ndarray],
) -> list[dict[str, Any]]:
    """Returns what `predict_dataset` does, on every worker; each of them looks at its share of the images."""
    share = batch_share_of(strategy)
    if share.workers == 1:
        return predict_dataset(detect, spec, dataset=dataset, load=load)
    mine = replace(dataset, records=dataset.records[share.worker :: share.workers])
    parts = gather_json(strategy, predict_dataset(detect, spec, dataset=mine, load=load))
    place = {record.image_id: number for number, record in enumerate(dataset.records)}
    # Sorting is stable: of one image, the order stays.
    return sorted((result for part in parts for result in part), key=lambda result: place[result["image_id"]])
