"""`detect` on a stream that this machine serves: true latency from sending a picture to its line, and memory by time.

    python benchmarks/files/live.py FILE.tflite [--server http|rtsp] [--size 320] [--rate 25] [--speed 1]
        [--seconds 60] [--cut-every 20] [--record none|events|FILE] [--threads 2]

The server runs in a process of its own and writes a number into each picture; its clock is ours. Prints JSON:

- `sent_to_line_ms`: from when the server began to send a picture until its line had been written, beginning with the
  second second after each connection: the server's encoder, the network, decoding, the detector, all of it.
- `reported_ms`: what the lines themselves say: from when a frame was received.
- `processor_ms_a_frame`: processor time of this process for a frame that was looked at, with decoding the others.
- `back_after_s`: for each cut, until the next line.
- `memory_mb`: resident memory of this process, every tenth of the run, and its growth after the first tenth.

`--speed 10` sends ten times as fast, so that an hour's frames pass in six minutes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from streams import BITS, MjpegServer, RtspServer, number_in

from edge.detect.live import open_address
from edge.detect.video import watch
from edge.runtime import Detections, Detector
from keras_retina.foundation.machine import machine_name

SERVERS = {"http": MjpegServer, "rtsp": RtspServer}
SETTLING = 1.0  # seconds after a connection that are not counted: what lies in buffers is passed over meanwhile


class Watching:
    """A detector that notes the number in each picture; a text file that notes when its line was written."""

    def __init__(self, detector: Detector) -> None:
        self.detector, self.class_names = detector, detector.class_names
        self.number, self.lines = 0, 0
        self.written: list[tuple[int, float, float]] = []

    def detect(self, image: np.ndarray, score_threshold: float) -> Detections:
        self.number = number_in(image)
        return self.detector.detect(image, score_threshold)

    def write(self, line: str) -> None:
        now = time.perf_counter()
        self.lines += 1
        self.written.append((self.number, now, json.loads(line)["latency_ms"]))

    def flush(self) -> None:
        pass


def serve(pipe: Connection, kind: str, *, rate: float, size: int) -> None:
    """Runs the server; sends its address, then when each picture was sent; takes `cut`, and None as the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with SERVERS[kind](rate=rate, size=(size, size)) as server:
        pipe.send(server.address)
        while (asked := pipe.recv()) is not None:
            if asked == "cut":
                server.cut()
            pipe.send((time.perf_counter(), dict(server.sent)))
            for number in list(server.sent)[:-1000]:
                del server.sent[number]


def resident_mb() -> float:
    """Returns the resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--server", choices=sorted(SERVERS), default="http")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--rate", type=float, default=25.0)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--cut-every", type=float, default=20.0)
    parser.add_argument("--record", default="none")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, arguments.server),
        kwargs={"rate": arguments.rate * arguments.speed, "size": arguments.size}, daemon=True,
    )  # fmt: skip
    process.start()
    watching = Watching(Detector(arguments.file, arguments.threads))
    source = open_address(ours.recv(), tell=lambda text: print(text, file=sys.stderr))
    sample = Sampler(ours, watching, seconds=arguments.seconds, cut_every=arguments.cut_every)
    sample.start()
    used = time.process_time()
    real, sys.stdout = sys.stdout, watching  # what `-` writes to
    with tempfile.TemporaryDirectory() as folder:
        try:
            watched = watch(
                watching, source, out_dir=Path(folder), score_threshold=0.3, json_lines="-", record=arguments.record
            )
        finally:
            sys.stdout = real
    used = time.process_time() - used
    sample.join()
    ours.send(None)
    print(json.dumps({
        "machine": machine_name(), "load": [round(one, 1) for one in os.getloadavg()], "file": arguments.file.name,
        "server": arguments.server, "size": arguments.size, "threads": arguments.threads, "record": arguments.record,
        "frames_a_second": arguments.rate * arguments.speed, "seconds": round(watched.seconds, 1),
        "frames": watched.frames, "frames_sent": watched.last_index + 1,
        "processor_ms_a_frame": round(1000 * used / max(1, watched.frames), 1),
        "sent_to_line_ms": spread(sample.ages), "reported_ms": spread(sample.reported),
        "back_after_s": [round(one, 2) for one in sample.back], "memory_mb": sample.memory,
        "growth_mb": round(sample.memory[-1] - sample.memory[1], 1),
    }, indent=1))  # fmt: skip


class Sampler(threading.Thread):
    """Gathers the times twice a second, cuts the stream, and ends the run as Ctrl-C does."""

    def __init__(self, pipe: Connection, watching: Watching, *, seconds: float, cut_every: float) -> None:
        super().__init__(daemon=True)
        self.pipe, self.watching, self.seconds, self.cut_every = pipe, watching, seconds, cut_every
        self.ages, self.reported = array("f"), array("f")  # small: this process' memory is measured
        self.back: list[float] = []
        self.memory: list[float] = []

    def run(self) -> None:
        start = time.perf_counter()
        cut, settled, cuts = None, start + SETTLING, 1
        while (now := time.perf_counter()) - start < self.seconds:
            time.sleep(0.5)
            if cut is None and now - start > self.cut_every * cuts and now - start < self.seconds - 5:
                self.pipe.send("cut")
                cut, cuts = now, cuts + 1
            else:
                self.pipe.send("sent")
            at, sent = self.pipe.recv()
            if cut == now:
                cut = at
            written, self.watching.written = self.watching.written, []
            for number, line, latency in written:
                if cut is not None and line > cut and sent.get(number, 0.0) > cut:
                    self.back.append(line - cut)
                    cut, settled = None, line + SETTLING
                if line > settled and cut is None and number % (1 << BITS) in sent:
                    self.ages.append(1000 * (line - sent[number]))
                    self.reported.append(latency)
            if now - start >= len(self.memory) * self.seconds / 10:
                self.memory.append(round(resident_mb(), 1))
        self.memory.append(round(resident_mb(), 1))
        os.kill(os.getpid(), signal.SIGINT)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns how many there are, and percentiles."""
    if not values:
        return {"count": 0}
    half, most, longest = np.percentile(values, (50, 95, 100))
    return {
        "count": len(values), "median": round(half, 1), "within_95": round(most, 1), "longest": round(longest, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
