"""A folder in which the commands of the documentation can be run: the example's tables and the results of a run."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from bulkrnabert.cli import _run

N_STEPS = 3
FEW_GENES = 64
QUICK = {"max_epochs": 1, "patience": 1, "inner_genes": 32, "genes_per_step": 32, "micro_batch_size": 64}
ENCODERS = (("bulkrnabert", ""), ("gexbert", "gexbert."), ("mojo", "mojo."))
FOLDS = ("r0f0", "r0f1")


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Be in a folder for a while, with the number of threads and the loggers as they were afterwards."""
    import torch

    before, n_threads, level = Path.cwd(), torch.get_num_threads(), logging.getLogger("bulkrnabert").level
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        torch.set_num_threads(n_threads)
        logging.getLogger("bulkrnabert").setLevel(level)


def run_here(line: str) -> None:
    """Run a `bulkrnabert` command in this process, where torch is loaded already."""
    assert _run(line.split()) == 0, line


@pytest.fixture(scope="session")
def finished_run(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `docs/usage.md` starts from: `docs/example`, and `results` with encoders of the three models, tiny."""
    folder = tmp_path_factory.mktemp("documentation")
    shutil.copytree(repository / "docs" / "example", folder / "docs" / "example")
    shutil.copytree(repository / "conf", folder / "conf")
    (folder / "task.yaml").write_text(yaml.safe_dump({"cancer_type": {"adapter": {"kind": "ia3"}, **QUICK}}))
    with working_in(folder):
        run_here("preprocess --samplesheet docs/example/samplesheet_both.csv --out results/cohorts")
        run_here("split --cohorts results/cohorts --modality paired --folds 2 --out results/splits")
        for model, prefix in ENCODERS:
            for fold in FOLDS if model == "bulkrnabert" else FOLDS[:1]:
                tokens, encoder = f"made/{model}.{fold}", f"results/encoders/{prefix}{fold}"
                made_from = "--cohorts results/cohorts --splits results/splits"
                run_here(
                    f"tokenize {made_from} --split-id {fold} --model {model} --max-genes {FEW_GENES} --out {tokens}"
                )
                settings = f"--preset tiny --steps {N_STEPS} --engine torch --device cpu"
                run_here(f"pretrain --tokens {tokens} {settings} --out {encoder}")
        encoders = " ".join(f"--checkpoint results/encoders/{fold}" for fold in FOLDS)
        judged = "--cohorts results/cohorts --splits results/splits/splits.tsv --task cancer_type"
        out = "results/finetuned/cancer_type.pan.ia3.pretrained"
        run_here(f"finetune {encoders} {judged} --task-config task.yaml --device cpu --out {out}")
    return folder


@pytest.fixture(scope="session")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built without a warning."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    finished = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    said = [line for line in finished.stderr.splitlines() if line.startswith(("WARNING", "ERROR"))]
    assert finished.returncode == 0 and said == [], finished.stderr
    return out
