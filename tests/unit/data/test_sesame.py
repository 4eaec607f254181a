"""The SeSAMe reader: betas in the order of the sites, arrays kept apart, a message for each way a file can be wrong."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest

from bulkrnabert.data.sources.sesame import find_arrays, read_array
from bulkrnabert.errors import DataError

LARGE = {"cg01": 0.1, "cg02": 0.2, "cg03": 0.3, "cg04": 0.4, "cg05": 0.5, "ch.1.1F": 0.6, "rs9": 0.7}
SMALL = {"cg05": 0.55, "cg02": 0.25}


def write(path: Path, betas: dict[str, float | str]) -> Path:
    path.write_text("".join(f"{probe}\t{beta}\n" for probe, beta in betas.items()))
    return path


def test_real_lines(shared: Path) -> None:
    path = shared / "fixtures/gdc/methylation/sesame_lines_real.txt"
    arrays = find_arrays([path])
    assert arrays.ids == ("cg00000029", "cg00000108")
    np.testing.assert_array_equal(arrays.read(path), [0.0671066940271816, 0.976245089775103])


def test_sites_are_cpgs_only_and_na_is_nan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.txt", LARGE | {"cg03": "NA"})
    with caplog.at_level(logging.INFO):
        arrays = find_arrays([path])
    assert arrays.ids == ("cg01", "cg02", "cg03", "cg04", "cg05")
    assert arrays.dropped == (("non_cpg_probe", "ch.1.1F"), ("snp_probe", "rs9"))
    np.testing.assert_array_equal(arrays.read(path), [0.1, 0.2, np.nan, 0.4, 0.5])
    assert "1 probes left out: snp_probe" in caplog.text


def test_another_order_is_aligned_anew(tmp_path: Path) -> None:
    first = write(tmp_path / "a.txt", LARGE)
    turned = write(tmp_path / "b.txt", dict(reversed(LARGE.items())))
    arrays = find_arrays([first, turned])
    np.testing.assert_array_equal(arrays.read(turned), arrays.read(first))


def test_replicates_of_a_site_are_averaged(tmp_path: Path) -> None:
    rows = {"cg02_TC21": 0.9, "cg01_TC11": 0.1, "cg01_BC21": 0.4, "cg03_BO11": "NA", "cg03_TO11": "NA"}
    rows |= {"cg01_TC12": "NA", "nv-GRCh38-chr1-1": 0.2}
    path = write(tmp_path / "epic.txt", rows)
    arrays = find_arrays([path])
    assert arrays.ids == ("cg01", "cg02", "cg03")
    assert arrays.arrays[0].cpgs.n_replicates == 3
    assert arrays.dropped == (("other_probe", "nv-GRCh38-chr1-1"),)
    np.testing.assert_allclose(arrays.read(path), [0.25, 0.9, np.nan])


def test_mixed_arrays_are_refused_with_names_and_counts(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.txt", LARGE) for name in "ab"] + [write(tmp_path / "c.txt", SMALL)]
    with pytest.raises(DataError, match=r"array \(7 probes\) in 2 files, as a\.txt, array \(2 probes\) in 1 files"):
        find_arrays(paths)
    with pytest.raises(DataError, match="--arrays intersect"):
        find_arrays(paths)


def test_mixed_arrays_are_intersected_when_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    large, small = write(tmp_path / "a.txt", LARGE), write(tmp_path / "b.txt", SMALL)
    with caplog.at_level(logging.INFO):
        arrays = find_arrays([small, large], "intersect")
    assert "2 CpG probes remain" in caplog.text
    assert arrays.ids == ("cg02", "cg05")
    np.testing.assert_array_equal(arrays.read(large), [0.2, 0.5])
    np.testing.assert_array_equal(arrays.read(small), [0.25, 0.55])
    other = write(tmp_path / "c.txt", {"cg77": 0.1})
    with pytest.raises(DataError, match="have no CpG probe in common"):
        find_arrays([large, other], "intersect")


def test_known_arrays_have_their_names(tmp_path: Path) -> None:
    path = tmp_path / "27k.txt"
    path.write_text("".join(f"cg{number:08}\t0.5\n" for number in range(27_578)))
    assert read_array(path).name == "27k (27578 probes)"


def test_a_much_shorter_copy_is_called_truncated_even_when_intersecting(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.txt", LARGE)
    half = write(tmp_path / "b.txt", dict(list(LARGE.items())[:2]))
    for arrays in ("refuse", "intersect"):
        with pytest.raises(DataError, match=r"b\.txt: ends after 2 of the 7 probes of a\.txt.*truncated"):
            find_arrays([whole, half], arrays)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty file"),
        ("\n \n", "empty file"),
        ("<!DOCTYPE html><html>502</html>", "an HTML page"),
        ("cg01\t0.1\ncg02\t1.2\n", "other probes than"),
        ("cg01\t0.1\ncg02\tmany\n", "damaged one.*Row #2.*many"),
        ("probe\tbeta\ncg01\t0.1\n", "without a header.*Row #1"),
        ("cg01\t0.1\ncg02\n", "damaged one"),
        ("cg01\t0.1\ncg02\t\n", "damaged one"),
        ("cg01,0.1\ncg02,0.2\n", "damaged one"),
        ("cg01\t0.1\t7\n", "damaged one"),
        ("cg01\t0.1\ncg01\t0.2\n", "'cg01' stands there more than once"),
        ("TP53\t0.1\nMYC\t0.2\n", "none of its 2 probes is a CpG .*'TP53'"),
        ("cg01\t0.1\ncg02\t0.2\ncg04\t0.4\ncg05\t0.5\nch.1.1F\t0.6\nrs9\t0.7\n", "1 probes are missing, as cg03"),
        ("".join(f"{name}\t0.1\n" for name in [*LARGE, "cg99"]), "1 probes are new, as cg99"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, content: str, message: str) -> None:
    arrays = find_arrays([write(tmp_path / "a.txt", LARGE)])
    bad = tmp_path / "bad.txt"
    bad.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        arrays.read(bad)
    assert str(caught.value).startswith(str(bad))


@pytest.mark.parametrize("value", ["1.0001", "-0.2", "inf", "-inf"])
def test_values_that_are_no_betas(tmp_path: Path, value: str) -> None:
    arrays = find_arrays([write(tmp_path / "a.txt", LARGE)])
    bad = write(tmp_path / "bad.txt", LARGE | {"cg04": value})
    with pytest.raises(DataError, match=r"bad\.txt: probe 'cg04' \(row 4\) has the value .*between 0 and 1"):
        arrays.read(bad)
    np.testing.assert_array_equal(arrays.read(write(bad, LARGE | {"cg04": 1.0}))[3], 1.0)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"cg\xff\xfe\t0.1\n")
    arrays = find_arrays([write(tmp_path / "a.txt", LARGE)])
    with pytest.raises(DataError, match="damaged one"):
        arrays.read(bad)


def test_gzip_is_read(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.txt", LARGE)
    packed = tmp_path / "b.txt.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    arrays = find_arrays([plain])
    np.testing.assert_array_equal(arrays.read(packed), arrays.read(plain))
    packed.write_bytes(packed.read_bytes()[:30])
    with pytest.raises(DataError, match=r"b\.txt\.gz: cannot be read"):
        arrays.read(packed)


def test_many_files_keep_their_order(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number:02}.txt", LARGE | {"cg01": number / 100}) for number in range(40)]
    firsts = list(find_arrays(paths).read_all(paths, lambda betas: float(betas[0]), n_threads=3))
    assert firsts == [number / 100 for number in range(40)]
    assert list(find_arrays(paths).read_all([], lambda betas: betas)) == []


def test_an_error_in_a_thread_is_raised(tmp_path: Path) -> None:
    good = write(tmp_path / "a.txt", LARGE)
    bad = write(tmp_path / "b.txt", LARGE | {"cg01": 2.0})
    with pytest.raises(DataError, match=r"b\.txt: probe 'cg01'"):
        list(find_arrays([good]).read_all([good, bad, good], lambda betas: betas, n_threads=2))
