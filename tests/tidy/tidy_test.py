"""Goal: the structure that docs/ARCHITECTURE draws is the structure of the code. Method: reads every source
file of the checkout; arrows of includes, guards, forgotten tests, left-overs.
"""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ["common", "rpc", "server", "worker", "client", "tests", "bench"]
SOURCES = sorted(
    path.relative_to(ROOT) for folder in FOLDERS for suffix in ("*.h", "*.cc", "*.cu", "*.cuh")
    for path in (ROOT / folder).rglob(suffix))

# folder: folders whose headers it may include besides its own and common. Longest matching prefix counts.
ARROWS = {
    "common": [],
    "rpc": [],
    "server": ["rpc", "server"],
    "server/api": ["rpc", "server/scheduler", "server/store", "server/artifacts", "server/events", "server/metrics"],
    "server/scheduler": ["rpc", "server/store", "server/events"],
    "server/store": ["rpc"],
    "server/artifacts": ["rpc"],
    "server/backup": ["server/artifacts", "server/store"],
    "server/events": ["rpc", "server/store"],
    "server/metrics": ["server/scheduler", "server/store"],
    "worker": ["rpc", "worker/agent", "worker/supervisor", "worker/metrics"],
    "worker/agent": ["rpc", "worker/supervisor", "worker/metrics"],
    "worker/supervisor": [],
    "worker/metrics": [],
    "worker/trainer": ["worker/trainer", "text"],
    "worker/trainer/attention": [],
    "worker/trainer/model": ["worker/trainer/attention", "worker/trainer/checkpoint", "worker/trainer/kernels"],
    "worker/trainer/lora": ["worker/trainer/model"],
    "worker/trainer/loss": ["worker/trainer/kernels"],
    "worker/trainer/optimizer": [],
    "worker/trainer/data": ["text"],
    "worker/trainer/checkpoint": [],
    "worker/trainer/distributed": [],
    "worker/trainer/kernels": ["worker/trainer/distributed"],
    "worker/trainer/events": [],
    "client": ["rpc"],
    "client/cli": ["rpc", "client"],
}

# Headers that stand for a library, not for a room.
EVERYWHERE = {"worker/trainer/torch.h"}

# Libraries' headers and the folders that may include them.
LIBRARIES = {
    r"grpcpp/": ["rpc", "server", "worker/agent", "worker/worker", "client", "bench", "tests"],
    r"google/protobuf/|.*\.pb\.h": ["rpc", "server", "worker/agent", "client", "bench", "tests"],
    r"sqlite3\.h|libpq-fe\.h": ["server/store", "tests"],
    r"prometheus/": ["server/metrics", "worker/metrics", "tests"],
    r"torch/|ATen/|c10/": ["worker/trainer", "tests/worker/trainer", "tests/parity"],
}


def prefix_of(path, table):
    """The longest key of `table` that is a folder above `path`."""
    keys = [key for key in table if str(path).startswith(key + "/")]
    return max(keys, key=len) if keys else None


def includes(path):
    return re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', (ROOT / path).read_text(), re.M)


def test_includes_follow_the_arrows():
    wrong = []
    for path in SOURCES:
        folder = prefix_of(path, ARROWS)
        if folder is None:
            continue
        allowed = [folder, "common", *ARROWS[folder]]
        for header in includes(path):
            if not (ROOT / header).exists() or header in EVERYWHERE:
                continue
            target = prefix_of(pathlib.Path(header), ARROWS) or header.split("/")[0]
            if not any(target == entry or target.startswith(entry + "/") for entry in allowed):
                wrong.append(f"{path} includes {header}: {folder} may include only {', '.join(allowed)}")
    assert not wrong, "\n".join(wrong)


def test_libraries_stay_in_their_rooms():
    wrong = []
    for path in SOURCES:
        for header in includes(path):
            for pattern, rooms in LIBRARIES.items():
                if re.match(pattern, header) and not (ROOT / header).exists():
                    if not any(str(path).startswith(room) for room in rooms):
                        wrong.append(f"{path} includes {header}, which belongs to {', '.join(rooms)}")
    assert not wrong, "\n".join(wrong)


def test_header_guards_are_named_for_the_path():
    wrong = []
    for path in SOURCES:
        if path.suffix in (".h", ".cuh") and path.name != "pch.h":
            guard = "LONGLORA_" + re.sub(r"[^A-Z0-9]", "_", str(path).upper()) + "_"
            if f"#ifndef {guard}\n#define {guard}\n" not in (ROOT / path).read_text():
                wrong.append(f"{path}: guard must be {guard}")
    assert not wrong, "\n".join(wrong)


def test_every_test_is_registered():
    lists = {path.parent: path.read_text() for path in (ROOT / "tests").rglob("CMakeLists.txt")}
    wrong = []
    for path in sorted((ROOT / "tests").rglob("*_test.*")):
        if path.suffix not in (".cc", ".py") or "__pycache__" in path.parts:
            continue
        stem = path.name.removesuffix(path.suffix).removesuffix("_test")
        named = any(stem in text for folder, text in lists.items() if path.is_relative_to(folder))
        if not named:
            wrong.append(f"{path.relative_to(ROOT)} is in no CMakeLists.txt")
    assert not wrong, "\n".join(wrong)


def test_no_left_overs():
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b|DISABLED_|#if 0")
    wrong = [f"{path}:{number}: {line.strip()}" for path in SOURCES
             for number, line in enumerate((ROOT / path).read_text().splitlines(), 1) if pattern.search(line)]
    assert not wrong, "\n".join(wrong)


def test_main_files_are_short():
    wrong = [f"{path}: {len((ROOT / path).read_text().splitlines())} lines" for path in SOURCES
             if path.name == "main.cc" and len((ROOT / path).read_text().splitlines()) > 80]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("binary", "forbidden"), [
    ("longlora-trainer", ["libgrpc", "libprotobuf"]),
    ("longlora-worker", ["libtorch", "libc10"]),
    ("longlora-server", ["libtorch", "libc10"]),
    ("longlora", ["libtorch", "libc10"]),
])
def test_binaries_link_only_what_they_may(binary, forbidden):
    """libtorch_cpu exports protobuf symbols of its own: the two must never meet in a process."""
    dynamic = subprocess.run(["readelf", "-d", ROOT / "build" / "bin" / binary], capture_output=True, text=True,
                             check=True).stdout
    needed = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
    assert needed
    assert not [name for name in needed for word in forbidden if name.startswith(word)]


def test_what_the_simulator_drives_waits_only_through_its_seam():
    """common/threads: a thread or a wait beside it would run in real time, whatever the simulation does."""
    pattern = re.compile(r"\bstd::thread\b|\bstd::this_thread\b|absl::SleepFor|absl::Notification|\bmutex_?\.Await")
    folders = ["server/scheduler", "server/store", "server/events", "server/artifacts", "worker/agent"]
    exempt = {"postgres_job_store.cc"}  # the simulation has SQLite
    wrong = [f"{path}:{number}: {line.strip()}" for path in SOURCES
             if str(path.parent) in folders and path.name not in exempt
             for number, line in enumerate((ROOT / path).read_text().splitlines(), 1) if pattern.search(line)]
    assert not wrong, "\n".join(wrong)
