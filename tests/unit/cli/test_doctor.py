"""`doctor` on a samplesheet; single tables are tested with the data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from bulkrnabert.cli.doctor import command
from bulkrnabert.errors import ConfigError


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """Two tables of TPM, one of which is said to hold z-scores, and one table listed for two cohorts."""
    rng = np.random.default_rng(0)
    genes = [f"ENSG{number:011d}" for number in range(300)]
    for name in ("good", "bad"):
        values = rng.lognormal(1, 2, (12, 300))
        values *= 1e6 / values.sum(axis=1, keepdims=True)
        index = [f"{name}{row}" for row in range(12)]
        pd.DataFrame(values, index=index, columns=genes).rename_axis("sample_id").to_csv(tmp_path / f"{name}.csv")
    rows = ["A,rnaseq,good.csv,,tpm,", "B,rnaseq,good.csv,,tpm,", "C,rnaseq,bad.csv,,zscore,"]
    path = tmp_path / "sheet.csv"
    path.write_text("\n".join(["cohort,modality,path,format,unit,clinical", *rows]) + "\n")
    return path


def test_every_table_of_a_samplesheet_once(sheet: Path, tmp_path: Path) -> None:
    out = tmp_path / "doctor.json"
    result = CliRunner().invoke(command, ["--samplesheet", str(sheet), "--out", str(out)], standalone_mode=False)
    found = json.loads(out.read_text())
    assert [(item["table"], item["verdict"]) for item in found] == [("good.csv", "go"), ("bad.csv", "no-go")]
    assert result.return_value == 2
    assert "GO  good.csv" in result.output and "NO-GO  bad.csv" in result.output


def test_table_or_samplesheet(sheet: Path) -> None:
    for arguments in ([], ["--table", str(sheet), "--samplesheet", str(sheet)]):
        result = CliRunner().invoke(command, arguments, standalone_mode=False)
        assert isinstance(result.exception, ConfigError)
        assert "give --table, or --samplesheet for all of its tables" in str(result.exception)
    result = CliRunner().invoke(command, ["--samplesheet", str(sheet), "--unit", "tpm"], standalone_mode=False)
    assert "a samplesheet has its own" in str(result.exception)
