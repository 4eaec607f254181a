"""A variational autoencoder that restores missing values: what imputation is usually measured against.

Shape letters: B batch, G genes, Z latent.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bulkrnabert.config import FrozenConfig
from bulkrnabert.downstream.imputers import inner_rows
from bulkrnabert.downstream.restoration import RestoredValues

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]
LOG_VARIANCE_BOUND = 6.0
SMALLEST_RATE, LARGEST_RATE = 0.05, 0.95


class VAEConfig(FrozenConfig):
    """Sizes and rates.

    Attributes:
        hidden: Width of the layer on each side.
        n_latent: Width between them.
        learning_rate: Of Adam.
        batch_size: Samples a step.
        max_epochs: At most.
        patience: Epochs without a better inner loss before it stops.
        kl_weight: Weight of the divergence from the prior, beside the log likelihood of a sample.
        n_draws: Draws from the latent distribution that a restored value is averaged over.
    """

    hidden: int = 256
    n_latent: int = 32
    learning_rate: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 200
    patience: int = 15
    kl_weight: float = 0.1
    n_draws: int = 8


class VAE(nn.Module):
    """Encoder that sees values and which of them are there; decoder that gives each gene a mean and a variance.

    Args:
        n_genes: Columns.
        config: Sizes.
    """

    def __init__(self, n_genes: int, config: VAEConfig) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(2 * n_genes, config.hidden), nn.GELU(), nn.Linear(config.hidden, 2 * config.n_latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.n_latent, config.hidden), nn.GELU(), nn.Linear(config.hidden, 2 * n_genes)
        )

    def latent(self, values_BG: Tensor, known_BG: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latent position, shape (B, Z) each; unknown values are not looked at."""
        shown_BG = torch.where(known_BG, values_BG, torch.zeros_like(values_BG))
        mean_BZ, log_variance_BZ = self.encoder(torch.cat([shown_BG, known_BG.float()], dim=1)).chunk(2, dim=1)
        return mean_BZ, log_variance_BZ.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)

    def decode(self, latent_BZ: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of each gene, shape (B, G) each."""
        mean_BG, log_variance_BG = self.decoder(latent_BZ).chunk(2, dim=1)
        return mean_BG, log_variance_BG.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)


class VAEImputer:
    """A trained VAE.

    Args:
        network: The network, trained.
        config: How it was made.
        seed: Of the draws.
    """

    def __init__(self, network: VAE, config: VAEConfig, seed: int) -> None:
        self._network = network.eval()
        self._config = config
        self._seed = seed

    def restore(self, values: FloatArray) -> RestoredValues:
        """As `Restorer.restore`; the variance is the decoder's, and that of its mean over draws."""
        known_BG = torch.from_numpy(~np.isnan(values))
        values_BG = torch.from_numpy(np.nan_to_num(values).astype(np.float32))
        generator = torch.Generator().manual_seed(self._seed)
        with torch.inference_mode():
            mean_BZ, log_variance_BZ = self._network.latent(values_BG, known_BG)
            means, variances = [], []
            for _ in range(self._config.n_draws):
                noise_BZ = torch.randn(mean_BZ.shape, generator=generator)
                mean_BG, log_variance_BG = self._network.decode(mean_BZ + noise_BZ * (log_variance_BZ / 2).exp())
                means.append(mean_BG)
                variances.append(log_variance_BG.exp())
        draws = torch.stack(means)
        variance = torch.stack(variances).mean(dim=0) + draws.var(dim=0, unbiased=False)
        return RestoredValues(draws.mean(dim=0).numpy(), variance.sqrt().numpy())


def fit_vae(train: FloatArray, seed: int, config: VAEConfig | None = None) -> VAEImputer:
    """Train on samples of which a random share of the values, 5 to 95 %, is hidden; stop by samples set aside.

    Every measured value is restored, hidden or not. The inner samples are hidden in one and the same way every epoch.

    Args:
        train: Shape (samples, genes), NaN where missing.
        seed: Of weights, batches, hiding and draws.
        config: Sizes and rates.
    """
    config = config or VAEConfig()
    is_inner = inner_rows(len(train), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VAE(train.shape[1], config)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    values_BG = torch.from_numpy(np.nan_to_num(train).astype(np.float32))
    there_BG = torch.from_numpy(~np.isnan(train))
    to_fit, inner = torch.from_numpy(np.flatnonzero(~is_inner)), torch.from_numpy(np.flatnonzero(is_inner))
    to_fit = to_fit if len(to_fit) else inner
    inner_known = _hide(there_BG[inner], generator)
    best_loss, best_epoch = float("inf"), 0
    best = {name: value.clone() for name, value in network.state_dict().items()}
    for epoch in range(config.max_epochs):
        order = to_fit[torch.randperm(len(to_fit), generator=generator)]
        for rows in torch.split(order, config.batch_size):
            optimiser.zero_grad()
            known_BG = _hide(there_BG[rows], generator)
            _loss(network, values_BG[rows], there_BG[rows], known_BG, config.kl_weight, generator).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            inner_generator = torch.Generator().manual_seed(seed)
            hidden = there_BG[inner] & ~inner_known
            loss = float(_loss(network, values_BG[inner], hidden, inner_known, 0.0, inner_generator))
        if loss < best_loss:
            best_loss, best_epoch = loss, epoch
            best = {name: value.clone() for name, value in network.state_dict().items()}
        elif epoch - best_epoch >= config.patience:
            break
    network.load_state_dict(best)
    logger.info("VAE: inner loss %.4f after %d epochs", best_loss, best_epoch + 1)
    return VAEImputer(network, config, seed)


def _hide(there_BG: Tensor, generator: torch.Generator) -> Tensor:
    """Which values stay known: a share of each sample's own."""
    rates_B = SMALLEST_RATE + (LARGEST_RATE - SMALLEST_RATE) * torch.rand(len(there_BG), generator=generator)
    return there_BG & (torch.rand(there_BG.shape, generator=generator) >= rates_B[:, None])


def _loss(
    network: VAE,
    values_BG: Tensor,
    judged_BG: Tensor,
    known_BG: Tensor,
    kl_weight: float,
    generator: torch.Generator,
) -> Tensor:
    """Normal negative log likelihood of the judged values, a gene, and the weighted divergence from the prior."""
    mean_BZ, log_variance_BZ = network.latent(values_BG, known_BG)
    noise_BZ = torch.randn(mean_BZ.shape, generator=generator)
    mean_BG, log_variance_BG = network.decode(mean_BZ + noise_BZ * (log_variance_BZ / 2).exp())
    each_BG = 0.5 * (log_variance_BG + (values_BG - mean_BG) ** 2 / log_variance_BG.exp())
    n_judged = judged_BG.sum().clamp(min=1)
    likelihood = torch.where(judged_BG, each_BG, torch.zeros_like(each_BG)).sum() / n_judged
    divergence = 0.5 * (mean_BZ**2 + log_variance_BZ.exp() - 1 - log_variance_BZ).sum()
    return likelihood + kl_weight * divergence / n_judged
