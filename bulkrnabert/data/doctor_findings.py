"""What `doctor` found: plain records, as a page or a program reads them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]
Verdict = Literal["go", "no-go"]
VERSION = 1
SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: As `coverage`.
        status: `fail` makes the verdict `no-go`; `warn` is for a human to judge.
        found: What is there.
        expected: What should be.
        cure: What to do; empty when all is well.
    """

    name: str
    status: Status
    found: str
    expected: str = ""
    cure: str = ""


@dataclass(frozen=True)
class Coverage:
    """How much of a gene vocabulary a table has.

    Attributes:
        vocabulary: Name of its file.
        n_vocabulary: Its genes.
        n_found: Those that the table has.
        share: n_found / n_vocabulary, in [0, 1].
        n_outside: Genes of the table that the vocabulary lacks.
        missing: Genes of the vocabulary that the table lacks, in its order.
        missing_symbols: Their symbols, as many; empty text where unknown.
        expression_share: Share of the table's total expression that lies in genes of the vocabulary; None where the
            scale has no sum.
    """

    vocabulary: str
    n_vocabulary: int
    n_found: int
    share: float
    n_outside: int
    missing: tuple[str, ...]
    missing_symbols: tuple[str, ...]
    expression_share: float | None


@dataclass(frozen=True)
class Scale:
    """What the numbers look like, against what they were said to be.

    Attributes:
        claimed: Unit as stated; None when it was left out.
        detected: The one unit that the numbers fit; None where several do.
        candidates: All units that they fit, the likeliest first.
        evidence: What speaks for it, as (what, how much).
    """

    claimed: str | None
    detected: str | None
    candidates: tuple[str, ...]
    evidence: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Pair:
    """Two samples that are the same or nearly so, with the correlation of their logarithms."""

    first: str
    second: str
    correlation: float


@dataclass(frozen=True)
class Broken:
    """A sample that looks broken, and why."""

    sample_id: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Samples:
    """What the samples look like.

    Attributes:
        n_samples: Rows of the table.
        median_detected: Genes above zero in the median sample; None on scales without a zero.
        exact_copies: Samples with equal values; an id that stands there twice is a pair with itself.
        near_copies: Samples that correlate above 0.9999 but are not equal; at most 1,000.
        broken: Samples with a reason to look at them.
        n_in_clinical: Samples that the clinical table lists; None without one.
    """

    n_samples: int
    median_detected: float | None
    exact_copies: tuple[Pair, ...]
    near_copies: tuple[Pair, ...]
    broken: tuple[Broken, ...]
    n_in_clinical: int | None


@dataclass(frozen=True)
class DriftPoint:
    """How far embeddings move when genes are missing.

    Attributes:
        missing_fraction: Share of the genes that were masked, in [0, 1].
        mean: Cosine to the embedding with all genes, mean over samples; 1 is no drift.
        low: 5th percentile.
        high: 95th percentile.
        n_samples: Samples.
    """

    missing_fraction: float
    mean: float
    low: float
    high: float
    n_samples: int


@dataclass(frozen=True)
class Diagnosis:
    """Everything that `doctor` says of a table; `to_json` is the content of `doctor.json`."""

    table: str
    verdict: Verdict
    checks: tuple[Check, ...]
    coverage: Coverage | None = None
    samples: Samples | None = None
    scale: Scale | None = None
    drift: tuple[DriftPoint, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Keys `version, table, verdict, checks, coverage, samples, scale, drift`; `{}` for what was not looked at."""
        return {
            "version": VERSION,
            "table": self.table,
            "verdict": self.verdict,
            "checks": [asdict(check) for check in self.checks],
            "coverage": asdict(self.coverage) if self.coverage else {},
            "samples": asdict(self.samples) if self.samples else {},
            "scale": asdict(self.scale) if self.scale else {},
            "drift": [asdict(point) for point in self.drift],
        }


def verdict_of(checks: list[Check]) -> Verdict:
    """`no-go` when a check failed."""
    return "no-go" if any(check.status == "fail" for check in checks) else "go"


def some(names: list[str] | tuple[str, ...], n_shown: int = 5) -> str:
    """The first few names, for a sentence."""
    shown = ", ".join(
        name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}…" for name in names[:n_shown]
    )
    return shown + (f", … ({len(names)} in all)" if len(names) > n_shown else "")
