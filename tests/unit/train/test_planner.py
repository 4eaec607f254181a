"""Plans: sizes counted by hand and against real tensors, choices, text; times from given speeds, never the clock."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bulkrnabert.cli import _run
from bulkrnabert.config import preset_path
from bulkrnabert.errors import ConfigError
from bulkrnabert.models import layers
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.train import planner, planner_cpu, planner_request
from bulkrnabert.train.config import MaskedTrainConfig
from bulkrnabert.train.devices import devices_path, read_devices
from bulkrnabert.train.losses import MaskedLanguageModel
from bulkrnabert.train.planner import (
    GIB,
    Job,
    Settings,
    check_job,
    choose_settings,
    estimate_memory,
    gpu_step_seconds,
    largest_micro_batch,
    recomputed_flops,
    run_time,
)
from bulkrnabert.train.planner_cpu import CpuSpeed, calibrate, cpu_step_seconds
from bulkrnabert.train.recipes_bulkrnabert import flops_per_sample

MODEL = BulkRNABertConfig(
    n_genes=200, embed_dim=16, init_gene_embed_dim=8, n_heads=2, ffn_embed_dim=32, n_layers=3, n_bins=64
)
TRAIN = MaskedTrainConfig(
    steps=100, global_batch_size=8, micro_batch_size=4, learning_rate=1e-3, validate_every=50, checkpoint_every=50
)
JOB = Job(model=MODEL, train=TRAIN, n_samples=100, n_devices=1, is_bf16=False)
PLAIN = Settings(micro_batch_size=4, is_checkpointing=False, zero_stage=0)


@pytest.mark.parametrize(
    "change", [{}, {"use_gene_embedding": False}, {"project_gene_embedding": False, "init_gene_embed_dim": 16}]
)
def test_parameters_are_counted_as_the_model_has_them(change: dict[str, object]) -> None:
    model = MODEL.model_copy(update=change)
    assert replace(JOB, model=model).n_parameters == sum(value.numel() for value in BulkRNABert(model).parameters())


def test_the_published_size() -> None:
    model = BulkRNABertConfig.from_yaml(preset_path("model", "paper")).with_genes(19_062)
    assert replace(JOB, model=model).n_parameters == pytest.approx(6.0e6, rel=0.01)


def kept_by_autograd(model: BulkRNABertConfig, n_masked: int) -> int:
    """Bytes that a real forward pass saves for its backward pass, parameters and integers left out."""
    objective = MaskedLanguageModel(BulkRNABert(model))
    storages = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in objective.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        pointer = tensor.untyped_storage().data_ptr()
        if tensor.is_floating_point() and pointer not in own:
            storages[pointer] = tensor.untyped_storage()
        return tensor

    inputs = torch.randint(0, 64, (1, model.n_genes))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = objective(inputs, torch.arange(n_masked)[None], torch.zeros(1, n_masked, dtype=torch.long), None).loss
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("is_piecewise", [False, True])
def test_activations_are_what_autograd_keeps(monkeypatch: pytest.MonkeyPatch, is_piecewise: bool) -> None:
    if is_piecewise:
        for module in (layers, planner):
            monkeypatch.setattr(module, "PIECEWISE_FROM_GENES", 100)
    model = MODEL.model_copy(update={"n_genes": 1000})
    job = replace(JOB, model=model)
    counted = estimate_memory(job, replace(PLAIN, micro_batch_size=1), 0, holds_data=False).activations
    assert counted == pytest.approx(kept_by_autograd(model, 150), rel=0.12)


def test_zero_shares_out_what_its_stage_says() -> None:
    job = replace(JOB, n_devices=4)
    n = job.n_parameters
    found = {stage: estimate_memory(job, Settings(2, False, stage), 0, holds_data=False) for stage in planner.STAGES}
    assert [found[stage].optimizer for stage in (0, 1, 2, 3)] == [8 * n, 2 * n, 2 * n, 2 * n]
    assert [found[stage].gradients for stage in (0, 1, 2, 3)] == [4 * n, 4 * n, n, n]
    assert [found[stage].weights for stage in (0, 1, 2, 3)] == [4 * n, 4 * n, 4 * n, n]
    assert found[0].framework == 0 and found[1].framework > 0


def test_checkpointing_keeps_less_and_computes_more() -> None:
    deep = replace(JOB, model=MODEL.model_copy(update={"n_layers": 12}))
    plain, again = (
        estimate_memory(deep, replace(PLAIN, is_checkpointing=value), 0, holds_data=False).activations
        for value in (False, True)
    )
    assert again < plain / 3
    assert recomputed_flops(deep, 200, False) == 0
    assert recomputed_flops(deep, 200, True) == flops_per_sample(deep.model, 200, 30) // 3


def test_a_validation_of_eight_samples_may_decide() -> None:
    small = estimate_memory(JOB, replace(PLAIN, micro_batch_size=1), 0, holds_data=False)
    # Eight samples of 200 genes: the stream twice and a norm of width 16; attention, 8 x 16; feed-forward, 2 x 32.
    assert small.activations + small.working == 8 * 200 * 4 * (3 * 16 + 8 * 16 + 2 * 32)
    job = replace(JOB, train=TRAIN.model_copy(update={"global_batch_size": 64, "micro_batch_size": 64}))
    large = estimate_memory(job, replace(PLAIN, micro_batch_size=64), 0, holds_data=False)
    assert large.activations + large.working > 4 * (small.activations + small.working)


def test_a_gene_subset_decides_memory_until_full_length_steps_come() -> None:
    subset = replace(JOB, train=TRAIN.model_copy(update={"genes_per_step": 50}))
    later = replace(JOB, train=TRAIN.model_copy(update={"genes_per_step": 50, "full_length_steps": 10}))
    assert (subset.most_genes, later.most_genes) == (50, 200)
    assert subset.step_kinds == [(50, 100)] and later.step_kinds == [(50, 90), (200, 10)]


def choose(job: Job, n_bytes: int) -> Settings:
    return choose_settings(job, n_bytes, 0, holds_data=False, zero_stage=None).settings


def needed(job: Job, settings: Settings) -> int:
    return int(estimate_memory(job, settings, 0, holds_data=False).total / planner.USABLE_SHARE) + 1


def test_choices_in_their_order() -> None:
    deep = replace(JOB, model=MODEL.model_copy(update={"n_layers": 12, "n_genes": 2000}))
    again = replace(PLAIN, is_checkpointing=True)
    assert choose(deep, needed(deep, PLAIN)) == PLAIN
    assert choose(deep, needed(deep, PLAIN) - 2) == again
    assert choose(deep, needed(deep, again) - 2).micro_batch_size == 2
    nothing = choose_settings(deep, 1000, 0, holds_data=False, zero_stage=None)
    assert not nothing.fits and nothing.settings == Settings(1, True, 0)
    roomy = choose_settings(deep, GIB, 0, holds_data=False, zero_stage=None)
    assert largest_micro_batch(roomy, deep, GIB, 0, holds_data=False) == 8
    assert largest_micro_batch(nothing, deep, 1000, 0, holds_data=False) == 0


def test_a_higher_stage_is_chosen_where_only_it_fits() -> None:
    wide = replace(JOB, n_devices=4, train=TRAIN.model_copy(update={"micro_batch_size": 1}))
    wide = replace(wide, model=MODEL.model_copy(update={"n_genes": 40, "embed_dim": 512, "ffn_embed_dim": 2048}))
    stages = [Settings(1, True, stage) for stage in planner.STAGES]
    leanest = min(stages, key=lambda settings: needed(wide, settings))
    assert leanest.zero_stage == 3
    assert choose(wide, needed(wide, leanest)).zero_stage == 3
    assert choose(wide, 10 * needed(wide, leanest)).zero_stage == 0


def test_time_of_a_run_by_hand() -> None:
    # 100 steps of 2 s; validations at step 0, 50 and 100, each of 5 samples at a third of their share of a step.
    speed = run_time(JOB, {200: 2.0})
    assert speed.validation_s == pytest.approx(5 / 8 * 2 / 3)
    assert speed.total_s == pytest.approx(200 + 3 * speed.validation_s)
    assert speed.tokens_per_s == pytest.approx(8 * 200 / 2)


def test_gpu_time_is_operations_over_rate_and_traffic() -> None:
    device = read_devices(devices_path())["a100"]
    fast = gpu_step_seconds(JOB, PLAIN, device, mfu=0.5)[200]
    slow = gpu_step_seconds(JOB, PLAIN, device, mfu=0.25)[200]
    compute = 8 * flops_per_sample(MODEL, 200, 30) / (312e12 * 0.5)
    assert slow - fast == pytest.approx(compute)
    assert gpu_step_seconds(replace(JOB, n_devices=2), PLAIN, device, 0.5)[200] == pytest.approx(fast / 2)


def test_cpu_time_from_given_speeds_by_hand() -> None:
    speed = CpuSpeed(
        1, attention_flops_per_s=1e9, other_flops_per_s=2e9, update_s=0.5, framework_bytes=0, memory_bytes=GIB
    )
    attention = 3 * 4 * 16 * 200 * (2 * 200 + 30)
    other = flops_per_sample(MODEL, 200, 30) - attention
    assert cpu_step_seconds(JOB, PLAIN, speed)[200] == pytest.approx(0.5 + 8 * (attention / 1e9 + other / 2e9))


def test_calibration_finds_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner_cpu, "MEASURE_FOR_S", 0.05)
    speed = calibrate(JOB)
    assert min(speed.attention_flops_per_s, speed.other_flops_per_s, speed.update_s, speed.framework_bytes) > 0
    assert speed.memory_bytes > GIB


def test_every_shipped_device_is_whole() -> None:
    assert {"h200", "h100", "a100", "l4"} <= set(read_devices(devices_path()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: {name: X}", "x: .* problems"),
        ("[]", "expected a mapping of device names, found list"),
        ("cpu: {}", "`cpu` is no entry of the table"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "devices.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_devices(tmp_path / "devices.yaml")


@pytest.mark.parametrize(
    ("job", "stage", "message"),
    [
        (replace(JOB, n_devices=3), None, "global_batch_size 8 does not divide over 3 devices"),
        (replace(JOB, n_devices=4), None, "micro_batch_size 4 does not divide the 2 samples of each of 4 devices"),
        (JOB, 2, "ZeRO stage 2 shares out nothing on one device"),
    ],
)
def test_jobs_that_could_not_run(job: Job, stage: planner.ZeroStage | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_job(job, stage)


def plan(*arguments: str) -> int:
    return _run(["plan", "--genes", "19062", "--samples", "10000", *arguments])


def test_a_gpu_plan_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan("--device", "h200") == 0
    text = capsys.readouterr().out
    assert text.startswith("GO: ") and "BulkRNABert of 6.01 M parameters" in text
    assert "assumed, not measured" in text and "EXAMPLE price" in text
    assert plan("--device", "h200", "--price-per-hour", "2", "--mfu", "0.3") == 0
    text = capsys.readouterr().out
    assert "your price" in text and "at 30% (given)" in text


def test_a_gpu_plan_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--device", "a100", "--n-devices", "4", "--zero-stage", "2", "--price-per-hour", "2", "--json")
    assert plan(*arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "go" and found["model"] == "bulkrnabert" and found["settings"]["zero_stage"] == 2
    assert found["device_hours"] == pytest.approx(4 * found["hours"])
    assert found["price"] == pytest.approx(2 * found["device_hours"])
    parts = found["memory_bytes"]
    assert parts.pop("total") == sum(parts.values()) - parts["device"]


def test_no_go_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "devices.yaml").write_text(
        "toy: {name: Toy, peak_bf16_tflops: 1, memory_gb: 0.5, bandwidth_gb_per_s: 10, assumed_mfu: 0.2, "
        "example_price_per_hour: 1}"
    )
    assert plan("--device", "toy", "--devices", str(tmp_path / "devices.yaml")) == 2
    text = capsys.readouterr().out
    assert text.startswith("NO-GO") and "Nothing leaner fits" in text


def test_sizes_of_another_model_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.yaml").write_text("embed_dim: 16\nn_layers: 1\ndecoder_layers: 2\n")
    assert plan("--model-config", str(tmp_path / "other.yaml")) == 2
    message = capsys.readouterr().err
    assert "`decoder_layers`: Extra inputs" in message and "Only a BulkRNABert can be planned" in message


def test_a_cpu_plan_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    speed = CpuSpeed(2, 50e9, 40e9, 0.1, GIB // 2, 16 * GIB)
    monkeypatch.setattr(planner_request, "calibrate", lambda job: speed)
    assert _run(["plan", "--preset", "small", "--genes", "4000", "--samples", "800"]) == 0
    text = capsys.readouterr().out
    assert "measured here: 50 GFLOP/s in attention, 40 GFLOP/s in the rest" in text and "Price" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "tpu"), "no device named 'tpu': choose cpu or one of h200, h100, a100, l4"),
        (("--n-devices", "2"), "on cpu one process is planned"),
        (("--mfu", "0.5"), "--mfu belongs to a GPU"),
        (("--preset", "huge"), "no model preset named 'huge'"),
        (("--device", "l4", "--zero-stage", "1"), "ZeRO stage 1 shares out nothing"),
    ],
)
def test_bad_requests(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(*arguments) == 2
    assert message in capsys.readouterr().err
