"""A plan as text for a person, and as JSON for a script."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from bulkrnabert import keys
from bulkrnabert.train.planner import GIB, USABLE_SHARE, Choice, Job, Speed

HOUR_S = 3600


@dataclass(frozen=True)
class Plan:
    """What a run will need.

    Attributes:
        job: The run.
        device_name: Full name.
        memory_bytes: Of one device.
        choice: Settings and their memory.
        largest_micro_batch: The largest that fits beside those settings; 0 if none does.
        speed: Time of steps and run.
        basis: Where the times come from, for a person.
        price_per_hour: Of one device; None where there is none.
        is_example_price: The price is the table's example, not the user's.
    """

    job: Job
    device_name: str
    memory_bytes: int
    choice: Choice
    largest_micro_batch: int
    speed: Speed
    basis: str
    price_per_hour: float | None
    is_example_price: bool

    @property
    def verdict(self) -> Literal["go", "no-go"]:
        """Whether it fits."""
        return "go" if self.choice.fits else "no-go"

    @property
    def device_hours(self) -> float:
        """Hours times devices."""
        return self.speed.total_s / HOUR_S * self.job.n_devices

    @property
    def price(self) -> float | None:
        """Of the run, in the unit of `price_per_hour`."""
        return None if self.price_per_hour is None else self.price_per_hour * self.device_hours

    def to_json(self) -> dict[str, Any]:
        """All numbers, under stable names."""
        memory = self.choice.memory
        return {
            "verdict": self.verdict,
            "model": keys.BULKRNABERT,
            "device": self.device_name,
            "n_devices": self.job.n_devices,
            "n_genes": self.job.model.n_genes,
            "n_samples": self.job.n_samples,
            "n_parameters": self.job.n_parameters,
            "precision": "bf16" if self.job.is_bf16 else "fp32",
            "settings": asdict(self.choice.settings),
            "largest_micro_batch_size": self.largest_micro_batch,
            "memory_bytes": {**asdict(memory), "total": memory.total, "device": self.memory_bytes},
            "step_s": {str(n_genes): seconds for n_genes, seconds in self.speed.step_s.items()},
            "validation_s": self.speed.validation_s,
            "tokens_per_s": self.speed.tokens_per_s,
            "hours": self.speed.total_s / HOUR_S,
            "device_hours": self.device_hours,
            "price": self.price,
            "price_per_hour": self.price_per_hour,
            "is_example_price": self.is_example_price,
            "basis": self.basis,
        }


def render(plan: Plan) -> str:
    """The plan as lines of text."""
    job, settings, memory = plan.job, plan.choice.settings, plan.choice.memory
    lines = [
        f"{plan.verdict.upper()}: {_gib(memory.total)} of {_gib(plan.memory_bytes)} a device"
        + ("" if plan.choice.fits else f" (at most {USABLE_SHARE:.0%} may be planned)"),
        "",
        f"Run        BulkRNABert of {job.n_parameters / 1e6:.2f} M parameters, {job.model.n_genes} genes, "
        f"{job.n_samples} samples; {job.train.steps} steps of {job.train.global_batch_size} samples = {_epochs(job)}",
        f"Device     {job.n_devices} x {plan.device_name}, {'bf16' if job.is_bf16 else 'fp32'}",
        f"Settings   micro_batch_size {settings.micro_batch_size} (configured {job.train.micro_batch_size}, largest "
        f"that fits {plan.largest_micro_batch}), activation checkpointing "
        f"{'on' if settings.is_checkpointing else 'off'}, ZeRO stage {settings.zero_stage}",
        "",
        "Peak memory of one process",
        *(f"  {name:<12} {_gib(value):>10}" for name, value in asdict(memory).items()),
        f"  {'total':<12} {_gib(memory.total):>10}",
        "",
        *(f"Step       {seconds:.3g} s with {n_genes} genes" for n_genes, seconds in plan.speed.step_s.items()),
        f"Speed      {plan.speed.tokens_per_s:,.0f} tokens/s over {job.n_devices} device(s)",
        f"Time       {_duration(plan.speed.total_s)}, validations included; {plan.basis}",
    ]
    if plan.price is not None:
        kind = "EXAMPLE price; set yours with --price-per-hour" if plan.is_example_price else "your price"
        lines.append(
            f"Price      {plan.price:,.2f} for {plan.device_hours:,.2f} device hours at {plan.price_per_hour:.2f} "
            f"({kind})"
        )
    if not plan.choice.fits:
        lines += ["", "Nothing leaner fits: fewer genes a step (genes_per_step), a smaller model, or more memory."]
    return "\n".join(lines)


def _epochs(job: Job) -> str:
    n_fit = max(1.0, job.n_samples * (1 - job.train.validation_fraction))
    return f"{job.train.steps * job.train.global_batch_size / n_fit:.1f} passes over the training samples"


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / GIB:.2f} GiB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * HOUR_S else f"{seconds / HOUR_S:.1f} h"
