"""GCT tables in blocks: the right numbers in the right place, and a word for every way to be damaged."""

from __future__ import annotations

import errno
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bulkrnabert.data.sources import gct
from bulkrnabert.data.sources.gct import SampleBlocks, extract_gct, index_gct, read_gct_header
from bulkrnabert.errors import DataError

SAMPLES = ["GTEX-1117F-0226-SM-A", "GTEX-1117F-0426-SM-B", "GTEX-111CU-0126-SM-C"]
TEXT = (
    "#1.2\n3\t3\nName\tDescription\t" + "\t".join(SAMPLES) + "\n"
    "ENSG00000000001.5\tAAA\t0\t1.5\t2e3\n"
    "ENSG00000000002.1\tBBB\t4\t0.25\t6\n"
    "ENSG00000000003.9\tC \t7\t8\t9.125\n"
)


def write(path: Path, text: str = TEXT) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["t.gct", "t.gct.gz", "misnamed.txt"])
def test_samples_and_genes_come_in_the_order_asked_for(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    if name == "misnamed.txt":
        path.write_bytes(gzip.compress(TEXT.encode()))
    index = index_gct(path)
    assert index.header.sample_ids == tuple(SAMPLES)
    assert index.gene_ids == ("ENSG00000000001.5", "ENSG00000000002.1", "ENSG00000000003.9")
    assert index.symbols == ("AAA", "BBB", "C")
    blocks = extract_gct(index, samples=[2, 0], genes=[2, 0], folder=tmp_path)
    values = blocks.read([1, 0, 1])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.float32([[7, 0], [9.125, 2000], [7, 0]]))
    assert [entry.name for entry in tmp_path.iterdir()] == [name], "the temporary file has no name"


def test_many_blocks_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = np.random.default_rng(0).integers(0, 1000, size=(40, 7)).astype(np.float32)
    rows = [f"ENSG{row:011d}.1\tS\t" + "\t".join(map(str, line)) for row, line in enumerate(expected.T)]
    head = "#1.2\n7\t40\nName\tDescription\t" + "\t".join(f"s{number}" for number in range(40))
    path = write(tmp_path / "t.gct.gz", "\n".join([head, *rows]) + "\n")
    monkeypatch.setattr(gct, "BLOCK_BYTES", 8 * 40 * 2)
    blocks = extract_gct(index_gct(path), range(39, -1, -1), [6, 1, 4, 0, 5])
    assert len(blocks._blocks) == 3
    np.testing.assert_array_equal(blocks.read(range(40)), expected[::-1][:, [6, 1, 4, 0, 5]])


def test_an_id_column_before_the_names_and_windows_line_ends(tmp_path: Path) -> None:
    lines = TEXT.splitlines()
    text = "\r\n".join([*lines[:2], f"id\t{lines[2]}", *(f"{n}\t{line}" for n, line in enumerate(lines[3:]))]) + "\r\n"
    index = index_gct(write(tmp_path / "t.gct", text))
    assert index.gene_ids[0] == "ENSG00000000001.5" and index.symbols[0] == "AAA"
    np.testing.assert_array_equal(extract_gct(index, [1], [0, 1, 2]).read([0]), np.float32([[1.5, 0.25, 8]]))


def cut(n_bytes: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:-n_bytes]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("#1.2", "#1.3", "first line is `#1.2`; found '#1.3'"),
        (TEXT, "<!DOCTYPE html>", "found an HTML page"),
        (TEXT, "", "found ''"),
        ("3\t3\n", "three\t3\n", "line 2 of a GCT file has the numbers of genes and samples, found 'three"),
        ("3\t3\n", "3\t4\n", "says 4 samples in line 2 but names 3 in line 3"),
        ("3\t3\n", "4\t3\n", "says 4 genes in line 2 but holds 3 rows: truncated"),
        ("3\t3\n", "2\t3\n", "says 2 genes in line 2 but holds 3 rows"),
        ("Name\tDescription", "Gene\tDescription", "starts with Name and Description, found ['Gene', 'Description']"),
        (SAMPLES[1], SAMPLES[0], f"2 columns of line 3 have the name '{SAMPLES[0]}'"),
        (SAMPLES[1], "", "1 columns of line 3 have the name ''"),
        ("\t8\t9.125", "\t8", "row 3 (ENSG00000000003.9) has 2 values, the header names 3 samples"),
        ("\t8\t9.125\n", "", "row 3 (ENSG00000000003.9) has 1 values"),
        ("\t0.25", "\t0.25\t1", "row 2 (ENSG00000000002.1) has 4 values"),
    ],
)
def test_a_damaged_shape_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(DataError) as caught:
        index_gct(write(tmp_path / "t.gct", TEXT.replace(old, new)))
    assert message in str(caught.value)
    assert str(tmp_path / "t.gct") in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("-0.25", f"the value -0.25 for gene ENSG00000000002.1 and sample {SAMPLES[1]}"),
        ("NaN", f"a missing value for gene ENSG00000000002.1 and sample {SAMPLES[1]}"),
        ("NA", "a missing value for gene ENSG00000000002.1"),
        ("", "a missing value for gene ENSG00000000002.1"),
        ("inf", "the value inf for gene ENSG00000000002.1"),
        ("high", f"'high' is no number, for gene ENSG00000000002.1 and sample {SAMPLES[1]}"),
    ],
)
def test_a_value_that_is_none_is_named(tmp_path: Path, cell: str, message: str) -> None:
    index = index_gct(write(tmp_path / "t.gct.gz", TEXT.replace("0.25", cell)))
    with pytest.raises(DataError) as caught:
        extract_gct(index, [0, 1, 2], [0, 1])
    assert message in str(caught.value)
    if cell != "high":  # what was not asked for is not judged
        assert extract_gct(index, [0], [0, 2]).read([0]).tolist() == [[0, 7]]


def test_an_empty_last_cell_is_a_missing_value(tmp_path: Path) -> None:
    index = index_gct(write(tmp_path / "t.gct", TEXT.replace("9.125", "")))
    with pytest.raises(DataError, match=f"a missing value for gene ENSG00000000003.9 and sample {SAMPLES[2]}"):
        extract_gct(index, [0, 1, 2], [0, 1, 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut(12), "the archive ends too early"),
        (lambda content: content[:-6] + b"\x00" * 6, "a damaged archive"),
        (lambda content: content[:15] + b"\xff" * 20 + content[35:], "a damaged archive"),
    ],
)
def test_a_damaged_archive_is_named(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = write(tmp_path / "t.gct.gz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        index_gct(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder, expected a GCT file"):
        read_gct_header(tmp_path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_gct_header(tmp_path / "none.gct")


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    index = index_gct(write(tmp_path / "t.gct"))
    write(tmp_path / "t.gct", TEXT.replace(SAMPLES[0], "other"))
    with pytest.raises(DataError, match="has changed while it was read"):
        extract_gct(index, [0], [0])


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"values of 1000 samples need 0\.1 GB for temporary use"):
        SampleBlocks(tmp_path / "none", 1000, 20000)

    class Full:
        def write(self, _: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    blocks = SampleBlocks(tmp_path, 2, 1)
    monkeypatch.setattr(blocks, "_file", Full())
    with pytest.raises(DataError, match="No space left on device; make room"):
        blocks.append(np.zeros((2, 1), dtype=np.float32), np.array([0]))
