"""The gradient of a whole batch, whatever the micro-batch and the number of processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bulkrnabert.train.targets import ClassTarget, CoxTarget, Target
from bulkrnabert.train.whole_batch import backward_whole_batch, encode_all

CPU = torch.device("cpu")
N = 70


def make_target(kind: str, n_events: int | None = None) -> Target:
    rng = np.random.default_rng(1)
    if kind == "classes":
        return ClassTarget("cancer_type", rng.integers(-1, 3, N), 3)
    event = rng.integers(0, 2, N)
    if n_events == 0:
        event[:] = 0
    time_days = rng.integers(1, 30, N).astype(float)  # many ties
    time_days[::9] = np.nan
    return CoxTarget("survival", time_days, event, np.arange(N) % 3)


def make_network(n_outputs: int) -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {"encoder": nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)), "head": nn.Linear(5, n_outputs)}
    )


def inputs() -> Tensor:
    return torch.randn(N, 6, generator=torch.Generator().manual_seed(2))


def run(target: Target, micro: int, rows: Tensor, train_encoder: bool = True) -> tuple[float, dict[str, Tensor]]:
    network, x = make_network(target.n_outputs), inputs()
    parameters = list(network["encoder"].parameters()) if train_encoder else []
    network["encoder"].requires_grad_(train_encoder)
    loss = backward_whole_batch(
        lambda part: network["encoder"](x[part]),
        lambda pooled: target.loss(network["head"](pooled), rows),
        rows,
        micro,
        parameters,
        CPU,
    )
    return float(loss), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def plain(target: Target, rows: Tensor) -> tuple[float, dict[str, Tensor]]:
    network, x = make_network(target.n_outputs), inputs()
    loss = target.loss(network["head"](network["encoder"](x[rows])), rows)
    loss.backward()
    return float(loss.detach()), {name: parameter.grad for name, parameter in network.named_parameters()}  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["classes", "survival"])
@pytest.mark.parametrize("micro", [1, 7, 64, N])
def test_the_gradient_is_that_of_the_whole_batch(kind: str, micro: int) -> None:
    target = make_target(kind)
    rows = torch.from_numpy(np.random.default_rng(3).permutation(N))
    (loss, gradients), (expected_loss, expected) = run(target, micro, rows), plain(target, rows)
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-5)


def test_control_the_mean_over_micro_batches_is_another_gradient() -> None:
    target, rows = make_target("survival"), torch.arange(N)
    network, x = make_network(1), inputs()
    parts = torch.split(rows, 7)
    for part in parts:
        (target.loss(network["head"](network["encoder"](x[part])), part) / len(parts)).backward()
    naive, whole = network["head"].weight.grad, plain(target, rows)[1]["head.weight"]
    assert naive is not None and (naive - whole).abs().max() > 0.1 * whole.abs().max()


@pytest.mark.parametrize("micro", [7, N])
def test_without_events_the_gradient_is_zero(micro: int) -> None:
    loss, gradients = run(make_target("survival", n_events=0), micro, torch.arange(N))
    assert loss == 0.0
    assert all(bool((gradient == 0).all()) for gradient in gradients.values())


@pytest.mark.parametrize("kind", ["classes", "survival"])
def test_without_a_label_the_gradient_is_zero(kind: str) -> None:
    target = make_target(kind)
    unlabelled = target.class_ids < 0 if isinstance(target, ClassTarget) else np.isnan(target.time_days)  # type: ignore[attr-defined]
    loss, gradients = run(target, 4, torch.from_numpy(np.flatnonzero(unlabelled)))
    assert loss == 0.0
    assert all(bool((gradient == 0).all()) for gradient in gradients.values())


def test_a_frozen_encoder_is_left_alone() -> None:
    gradients = run(make_target("survival"), 7, torch.arange(N), train_encoder=False)[1]
    assert sorted(gradients) == ["head.bias", "head.weight"]
    torch.testing.assert_close(
        gradients["head.weight"], plain(make_target("survival"), torch.arange(N))[1]["head.weight"]
    )


def test_embeddings_of_all_rows_keep_their_places() -> None:
    rows, x = torch.tensor([5, 1, 9]), inputs()
    torch.testing.assert_close(encode_all(lambda part: x[part], rows, 2, CPU), x[rows])


def work(rank: int, n_processes: int, folder: str, kind: str, n_rows: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=n_processes)
    loss, gradients = run(make_target(kind), 7, torch.arange(n_rows))
    torch.save({"loss": loss, "gradients": gradients}, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("kind", "n_rows"), [("survival", N), ("classes", 1)])
def test_two_processes_agree_with_one(kind: str, n_rows: int, tmp_path: Path) -> None:
    spawned: Callable[..., object] = torch.multiprocessing.get_context("fork").Process
    processes = [spawned(target=work, args=(rank, 2, str(tmp_path), kind, n_rows)) for rank in range(2)]
    for process in processes:
        process.start()  # type: ignore[attr-defined]
    for process in processes:
        process.join(120)  # type: ignore[attr-defined]
        assert process.exitcode == 0  # type: ignore[attr-defined]
    loss, expected = plain(make_target(kind), torch.arange(n_rows))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found["loss"] == pytest.approx(loss, abs=1e-5)
        for name, gradient in expected.items():
            torch.testing.assert_close(found["gradients"][name], gradient, atol=1e-5, rtol=1e-5)
