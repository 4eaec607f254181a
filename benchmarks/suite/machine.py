"""Where and with what numbers were measured."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulkrnabert.provenance import code_fingerprint

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parent
PACKAGES = ("torch", "deepspeed", "numpy", "pandas", "pyarrow", "matplotlib")
GIB = 2**30


def cpu_model() -> str:
    """Name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or "unknown"


def cpu_features() -> list[str]:
    """Instructions of the processor that matter here."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return []
    return [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]


def total_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_bytes() -> int:
    """Memory that can be had without swapping, that of file caches included."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", text, re.MULTILINE)
    assert found is not None, "every kernel since 3.14 says it"
    return int(found.group(1)) * 1024


def gpu_name() -> str | None:
    """Name of the first GPU, without importing torch; None where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    done = subprocess.run(
        [program, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    names = done.stdout.strip().splitlines() if done.returncode == 0 else []
    return names[0].strip() if names else None


def nextflow_version() -> str:
    """The version that the launcher pins."""
    text = (ROOT / "launchers" / "engine.py").read_text(encoding="utf-8")
    found = re.search(r'^NEXTFLOW_VERSION = "([^"]+)"$', text, re.MULTILINE)
    assert found is not None, "launchers/engine.py names the pinned version"
    return found.group(1)


def revision() -> str:
    """Commit of the clone, with `+` where files were changed since; `unknown` outside a clone."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def describe(n_threads: int) -> dict[str, Any]:
    """Machine, versions, date and revision, as a record holds them."""
    versions = {"python": platform.python_version(), "nextflow": nextflow_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "machine": {
            "cpu": cpu_model(),
            "features": cpu_features(),
            "cores": len(os.sched_getaffinity(0)),
            "threads": n_threads,
            "memory_gib": round(total_bytes() / GIB, 1),
            "gpu": gpu_name(),
            "system": f"{platform.system()} {platform.release()}",
        },
        "versions": versions,
        "date": datetime.now(UTC).date().isoformat(),
        "revision": revision(),
    }


def digest(stage: str, files: tuple[str, ...]) -> str:
    """Hash of the code that a benchmark measures and of its own; other code means that it has to run again."""
    found = hashlib.sha256(code_fingerprint(stage).encode())
    for name in sorted({*files, "timing.py"}):
        found.update(name.encode() + b"\0" + (HERE / name).read_bytes())
    return found.hexdigest()
