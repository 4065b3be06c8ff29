"""Does an arm64 machine find what this one finds? LiteRT's aarch64 wheel under qemu-user, emulated and not timed.

    python benchmarks/files/arm64.py FILE.tflite ... --images FOLDER [--count 5] [--root arm64]

For x86-64 Debian, as root. It makes `--root`: Python of Debian's arm64 packages, the aarch64 wheels of LiteRT, NumPy
and Pillow in the versions that are installed here, qemu-aarch64-static, and the /proc/cpuinfo of a Raspberry Pi 4,
without which XNNPACK takes the processor of this machine for its own and crashes (qemu 7.2 passes the real one on).
`edge/runtime.py` runs in both worlds, alone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

RUNTIME = Path(__file__).parents[2] / "edge/runtime.py"
PACKAGES = ("ai-edge-litert", "numpy", "pillow")
PLATFORMS = tuple(f"manylinux_2_{minor}_aarch64" for minor in range(17, 37))
CPU = "cortex-a72"  # of a Raspberry Pi 4
CPUINFO = """processor\t: {number}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
PROGRAM = """
import json, sys
from runtime import Detector
found = {}
for model in json.loads(sys.argv[1]):
    detector = Detector(model, threads=1)
    for image in json.loads(sys.argv[2]):
        one = detector.detect(image, float(sys.argv[3]))
        found[f"{model} {image}"] = [one.boxes.tolist(), one.scores.tolist(), one.classes.tolist()]
print(json.dumps(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--score", type=float, default=0.05)
    parser.add_argument("--root", type=Path, default=Path("arm64"))
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    if not (root / "packages").is_dir():
        make_root(root)
    images = sorted(path for path in arguments.images.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    lists = [
        json.dumps([str(path.resolve()) for path in paths]) for paths in (arguments.files, images[: arguments.count])
    ]
    words = ["-c", PROGRAM, *lists, str(arguments.score)]
    here = detections([sys.executable, *words], PYTHONPATH=str(RUNTIME.parent))
    emulator = [root / "usr/bin/qemu-aarch64-static", "-L", root / "system", "-cpu", CPU]
    there = detections(
        [*emulator, root / "system/usr/bin/python3", *words],
        PYTHONHOME=str(root / "system/usr"),
        PYTHONPATH=f"{RUNTIME.parent}:{root / 'packages'}",
    )
    print(f"{platform.machine()} against {CPU}, emulated")
    for name, (boxes, scores, classes) in here.items():
        other_boxes, other_scores, other_classes = there[name]
        same = "same objects" if classes == other_classes else "OTHER OBJECTS"
        apart = max((abs(a - b) for a, b in zip(scores, other_scores, strict=False)), default=0.0)
        moved = max(
            (abs(a - b) for p, q in zip(boxes, other_boxes, strict=False) for a, b in zip(p, q, strict=True)),
            default=0.0,
        )
        model, image = (Path(part).name for part in name.split(" "))
        print(
            f"{model:<32} {image:<24} {len(classes):>4} {same}, scores within {apart:.1e}, boxes within {moved:.1e} px"
        )


def make_root(root: Path) -> None:
    """Downloads what an arm64 Python needs, by the ordinary clients of Debian and PyPI; this system stays as it is."""
    for folder in ("apt/lists/partial", "apt/cache/archives/partial", "apt/dpkg", "system/proc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "apt/dpkg/status").touch()
    (root / "system/proc/cpuinfo").write_text("".join(CPUINFO.format(number=number) for number in range(4)))
    settings = root / "apt.conf"
    settings.write_text(
        'APT::Architecture "arm64";\nAPT::Architectures {"arm64";};\nAPT::Sandbox::User "root";\n'
        f'Dir::State "{root}/apt";\nDir::State::status "{root}/apt/dpkg/status";\nDir::Cache "{root}/apt/cache";\n'
    )
    run(["apt-get", "download", "qemu-user-static"], cwd=root)
    run(["apt-get", "update", "-qq"], APT_CONFIG=str(settings))
    names = ["python3", "libstdc++6"]
    run(["apt-get", "install", "-y", "--no-install-recommends", "--download-only", *names], APT_CONFIG=str(settings))
    for package in root.glob("*.deb"):
        run(["dpkg", "-x", package, root])
    for package in (root / "apt/cache/archives").glob("*.deb"):
        run(["dpkg", "-x", package, root / "system"])
    version = next((root / "system/usr/bin").glob("python3.*")).name.removeprefix("python")
    wheels = [f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES]
    kinds = [word for kind in PLATFORMS for word in ("--platform", kind)]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *kinds]
    run([*pip, "--python-version", version, "-d", root / "wheels", *wheels])
    for wheel in (root / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root / "packages")


def detections(command: list, **variables: str) -> dict:
    return json.loads(run(command, **variables))


def run(command: list, *, cwd: Path | None = None, **variables: str) -> str:
    words = [str(word) for word in command]
    return subprocess.run(
        words, check=True, stdout=subprocess.PIPE, text=True, cwd=cwd, env=os.environ | variables
    ).stdout


if __name__ == "__main__":
    main()
