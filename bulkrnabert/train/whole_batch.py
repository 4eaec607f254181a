"""Gradients of a loss that needs a whole batch at once, with an encoder that holds only a micro-batch at a time.

A Cox partial likelihood does not split over micro-batches: every event is compared with its whole risk set. So the
batch is encoded twice. The first pass, without gradients, gives all embeddings; the loss on them gives its gradient at
each embedding; the second pass carries that gradient through the encoder, a micro-batch at a time. The result is the
gradient of the whole batch, whatever the micro-batch and the number of processes.

Source: the principle is that of gradient caching (Gao et al. 2021, for contrastive losses).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, distributed, nn

Encoder = Callable[[Tensor], Tensor]
WholeLoss = Callable[[Tensor], Tensor]


def backward_whole_batch(
    encode: Encoder,
    loss_of: WholeLoss,
    rows: Tensor,
    micro_batch_size: int,
    encoder_parameters: Sequence[nn.Parameter],
    device: torch.device,
) -> Tensor:
    """Add the gradient of `loss_of(encode(rows))` to all parameters concerned.

    Under `torch.distributed` every process encodes its share of the rows; all end with the whole gradient.

    Args:
        encode: Row numbers (b,) to embeddings (b, E), row by row: what a row gives must not depend on its batch.
        loss_of: Embeddings of all rows (n, E) to a scalar; may have parameters of its own (heads).
        rows: Row numbers of the whole batch, shape (n,), equal on all processes.
        micro_batch_size: Rows that are encoded with gradients at once.
        encoder_parameters: What `encode` trains; may be empty (a frozen encoder).
        device: Where the embeddings are.
    Returns:
        The loss, detached.
    """
    n_processes = distributed.get_world_size() if distributed.is_initialized() else 1
    if n_processes == 1 and len(rows) <= micro_batch_size:
        loss = loss_of(encode(rows))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()
    embeddings = encode_all(encode, rows, micro_batch_size, device).requires_grad_()
    loss = loss_of(embeddings)
    loss.backward()  # type: ignore[no-untyped-call]
    if encoder_parameters:
        assert embeddings.grad is not None
        _backward_through_encoder(encode, rows, _own_places(len(rows), micro_batch_size), embeddings.grad)
        if n_processes > 1:
            _sum_gradients(encoder_parameters)
    return loss.detach()


def encode_all(encode: Encoder, rows: Tensor, micro_batch_size: int, device: torch.device) -> Tensor:
    """Embeddings of rows without gradients, shape (n, E); every process encodes its share."""
    places = _own_places(len(rows), micro_batch_size)
    with torch.no_grad():
        return _gather([(part, encode(rows[part])) for part in places if len(part)], len(rows), device)


def _own_places(n_rows: int, micro_batch_size: int) -> Sequence[Tensor]:
    """This process's places among the rows, a micro-batch each."""
    n_processes = distributed.get_world_size() if distributed.is_initialized() else 1
    rank = distributed.get_rank() if n_processes > 1 else 0
    return torch.split(torch.arange(n_rows).tensor_split(n_processes)[rank], micro_batch_size)


def _gather(parts: Sequence[tuple[Tensor, Tensor]], n_rows: int, device: torch.device) -> Tensor:
    """All embeddings in their places, float32: each process fills its own, the sum over processes has them all."""
    is_shared = distributed.is_initialized() and distributed.get_world_size() > 1
    width = torch.tensor(parts[0][1].shape[1] if parts else 0, device=device)
    if is_shared:
        distributed.all_reduce(width, distributed.ReduceOp.MAX)
    whole = torch.zeros(n_rows, int(width), device=device)
    for places, values in parts:
        whole[places.to(device)] = values
    if is_shared:
        distributed.all_reduce(whole)
    return whole


def _backward_through_encoder(encode: Encoder, rows: Tensor, places: Sequence[Tensor], gradient: Tensor) -> None:
    for part in places:
        if len(part):
            (encode(rows[part]) * gradient[part.to(gradient.device)]).sum().backward()  # type: ignore[no-untyped-call]


def _sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)
