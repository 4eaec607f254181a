"""The one home of column names, file names and metadata keys that cross a module border."""

from __future__ import annotations

from typing import Final

# Columns
SAMPLE_ID: Final = "sample_id"
PATIENT_ID: Final = "patient_id"
COHORT: Final = "cohort"
PROJECT_ID: Final = "project_id"
STRATUM: Final = "stratum"
SURVIVAL_PROBABILITIES: Final = "survival_probabilities"
SAMPLE_TYPE: Final = "sample_type"
SOURCE: Final = "source"
VALUES: Final = "values"
TOKENS: Final = "tokens"
PART: Final = "part"
JUDGED: Final = "judged"
FOLD_PREFIX: Final = "fold_r"
GENE_ID: Final = "gene_id"
SYMBOL: Final = "symbol"
GENE_TYPE: Final = "gene_type"
TIME_DAYS: Final = "time_days"
EVENT: Final = "event"
ENDPOINT: Final = "endpoint"
ENDPOINT_SOURCE: Final = "endpoint_source"
FLAGS: Final = "flags"
FILE: Final = "file"
RULE: Final = "rule"
REASON: Final = "reason"
PROBE: Final = "probe_id"
REGION: Final = "region"
DISTANCE: Final = "distance"
N_PROBES: Final = "n_probes"
N_ON_ARRAY: Final = "n_on_array"
SHARE_MISSING: Final = "share_missing"
NEVER_MEASURED: Final = "never_measured"
MISSING_SHARE: Final = "missing_share"
CLASS: Final = "class"
LAYER: Final = "layer"

# Values of columns
TUMOR: Final = "tumor"
NORMAL: Final = "normal"
METASTATIC: Final = "metastatic"
CELL_LINE: Final = "cell_line"
UNKNOWN: Final = "unknown"
TRAIN: Final = "train"
HELD_OUT: Final = "held_out"
ALL_SPLIT: Final = "all"
PAN: Final = "pan"
CANCER_TYPE: Final = "cancer_type"
SURVIVAL: Final = "survival"
RNASEQ: Final = "rnaseq"
METHYLATION: Final = "methylation"

# Kinds of model, and what a reader sees
BULKRNABERT: Final = "bulkrnabert"
MOJO: Final = "mojo"
GEXBERT: Final = "gexbert"
MODEL_TITLES: Final = {BULKRNABERT: "BulkRNABert", MOJO: "MOJO", GEXBERT: "GexBERT"}
OMIC_TITLES: Final = {RNASEQ: "RNA-seq", METHYLATION: "methylation"}

# Files
PLAN_JSON: Final = "plan.json"
MANIFEST_TSV: Final = "manifest.tsv"
CASES_JSON: Final = "cases.json"
GENES_TSV: Final = "genes.tsv"
GENES_METHYLATION_TSV: Final = "genes.methylation.tsv"
GENES_DROPPED_TSV: Final = "genes_dropped.tsv"
GENES_TXT: Final = "genes.txt"
CLINICAL_TSV: Final = "clinical.tsv"
REJECTED_TSV: Final = "rejected.tsv"
FAILED_TSV: Final = "failed.tsv"
SURVIVAL_TSV: Final = "survival.tsv"
SURVIVAL_EXCLUDED_TSV: Final = "survival_excluded.tsv"
PROBE_COVERAGE_TSV: Final = "probe_coverage.tsv"
SUMMARY_JSON: Final = "summary.json"
SPLITS_TSV: Final = "splits.tsv"
JOBS_TSV: Final = "jobs.tsv"
SKIPPED_TSV: Final = "skipped.tsv"
UNMATCHED_TSV: Final = "unmatched.tsv"
ENCODERS_TSV: Final = "encoders.tsv"
TOKENS_PARQUET: Final = "tokens.parquet"
TOKENIZER_JSON: Final = "tokenizer.json"
CONFIG_JSON: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
PROVENANCE_JSON: Final = "provenance.json"
MODEL_CARD: Final = "README.md"
RECORDS_JSONL: Final = "records.jsonl"
PREDICTIONS_PARQUET: Final = "predictions.parquet"
METRICS_JSON: Final = "metrics.json"
EMBEDDING_MAPS_JSON: Final = "embedding_maps.json"
RESULTS_CSV: Final = "results.csv"
REPORT_HTML: Final = "report.html"
ATTRIBUTIONS_TSV: Final = "attributions.tsv"
ATTRIBUTIONS_PARQUET: Final = "attributions.parquet"
ATTRIBUTED_SAMPLES_TSV: Final = "samples.tsv"
ENRICHMENT_TSV: Final = "enrichment.tsv"
ATTRIBUTION_JSON: Final = "attribution.json"
CHANGES_JSON: Final = "changes.json"
CHANGES_TSV: Final = "changes.tsv"
CHANGES_MD: Final = "CHANGES.md"
DECISION_JSON: Final = "decision.json"
DECISION_MD: Final = "DECISION.md"
COST_JSON: Final = "cost.json"
CRATE_JSON: Final = "ro-crate-metadata.json"
AUDIT_JSONL: Final = "audit.jsonl"

# Keys in Parquet schema metadata (bytes in the file, text here)
META_UNIT: Final = "brb.unit"
META_MODALITY: Final = "brb.modality"
META_GENES_SHA256: Final = "brb.gene_list_sha256"
META_ANNOTATION: Final = "brb.annotation"
META_ACCESS: Final = "brb.data_access"
META_SCALING: Final = "brb.scaling"
META_SPLIT_SHA256: Final = "brb.split_sha256"
META_SPLIT_ID: Final = "brb.split_id"
META_TOKENIZER_SHA256: Final = "brb.tokenizer_sha256"
META_MODEL: Final = "brb.model"
META_OMICS: Final = "brb.omics"
META_CLASSES: Final = "brb.classes"
META_SURVIVAL_DAYS: Final = "brb.survival_days"
META_NOT_ESTIMABLE: Final = "brb.not_estimable"
META_PROVENANCE: Final = "brb.provenance"

# Portals
PUBLIC_GDC_API: Final = "https://api.gdc.cancer.gov"
PUBLIC_ENCODE_API: Final = "https://www.encodeproject.org"

# Token ids outside the bins
PAD_ID: Final = 64
MASK_ID: Final = 65
N_TOKEN_IDS: Final = 66


def fold_column(repeat: int) -> str:
    """Name of the fold column of one repeat of the cross-validation."""
    return f"{FOLD_PREFIX}{repeat}"


def split_id(repeat: int, fold: int) -> str:
    """Name of one outer split: `r0f2` leaves fold 2 of repeat 0 out of training."""
    return f"r{repeat}f{fold}"
