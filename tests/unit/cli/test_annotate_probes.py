"""The command `annotate-probes`, as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bulkrnabert.cli import _run
from bulkrnabert.data.probes import read_probe_map

GENES = "id\tgene\tchrom\tchromStart\tchromEnd\tstrand\nENSG00000000001.4\tA\tchr1\t5000\t9000\t-\n"


def write(folder: Path) -> list[str]:
    (folder / "p.tsv").write_text("#id\tchrom\tchromStart\ncg1\tchr1\t9100\ncg2\tchr1\t6000\ncg3\tchr1\t99000\n")
    (folder / "g.tsv").write_text(GENES)
    return ["annotate-probes", "--probes", str(folder / "p.tsv"), "--genes", str(folder / "g.tsv")]


def test_positions_to_a_table_that_preprocess_reads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new/probes_to_genes.tsv"
    assert _run([*write(tmp_path), "--out", str(out)]) == 0
    assert out.read_text().splitlines() == [
        "probe_id\tgene_id\tsymbol\tregion\tdistance",
        "cg1\tENSG00000000001\tA\ttss\t-100",
        "cg2\tENSG00000000001\tA\tbody\t3000",
    ]
    assert "2 probes of 1 genes, 2 links (1 tss, 1 body); without a gene: 1 no_gene_near" in capfd.readouterr().err
    found = read_probe_map(out)
    assert (found.probe_ids, found.genes.gene_ids) == (("cg1", "cg2"), ("ENSG00000000001",))
    assert _run([*write(tmp_path), "--window", "0", "--out", str(out)]) == 0
    assert pd.read_csv(out, sep="\t")["probe_id"].tolist() == ["cg2"]


def test_bad_input_exits_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [*write(tmp_path), "--out", str(tmp_path / "out.tsv")]
    (tmp_path / "g.tsv").write_text("gene_id\tchrom\n")
    assert _run(arguments) == 2
    assert "a header without rows" in capfd.readouterr().err
    assert _run([*arguments, "--window", "-1"]) == 2
    assert not (tmp_path / "out.tsv").exists()
