"""What a GexBERT knows of a sample in closed form: linear factors, and which prototypes it is near.

Shape letters: B batch, K input genes, T target genes, G genes, R factors, C prototypes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

NEARNESS_SCALE = 10.0


@dataclass(frozen=True)
class FactorScores:
    """What is known of a sample's factors: a normal distribution, whose prior has mean 0 and deviation 1.

    Attributes:
        mean: Shape (B, R), float32.
        root: Lower Cholesky factor of the precision, shape (B, R, R), float32.
        nearness: Shares of the prototypes, shape (B, C), float32, sum 1; C may be 0.
    """

    mean: Tensor
    root: Tensor
    nearness: Tensor

    def features(self) -> Tensor:
        """What the summary reads, shape (B, R + C); a share is brought to the size of a factor."""
        return torch.cat([self.mean, NEARNESS_SCALE * self.nearness], dim=-1)


class LinearFactors(nn.Module):
    """Factor analysis: z = loading . s + noise of the gene's own, with s normal; beside it, typical samples.

    Loadings, noise and prototypes are fitted beforehand (`bulkrnabert.data.factors`) and not trained; how sharply the
    nearest prototypes stand out is. Everything is float32, also under autocast. Before `set` every loading is 0: then
    each gene's mean is all that is said.
    """

    def __init__(self, n_genes: int, n_factors: int, n_prototypes: int = 0) -> None:
        super().__init__()
        self.register_buffer("loading", torch.zeros(n_genes, n_factors))
        self.register_buffer("noise", torch.ones(n_genes))
        self.register_buffer("prototypes", torch.zeros(n_genes, n_prototypes))
        # A table of one row, since ZeRO 3 gathers a parameter where its own module is called.
        self.log_sharpness = nn.Embedding(1, 1) if n_prototypes else None

    def set(self, loading_GR: Tensor, noise_G: Tensor, prototypes_GC: Tensor) -> None:
        """Take loadings, variances of the noise (above 0), and standardised values of the prototypes."""
        self.get_buffer("loading").copy_(loading_GR)
        self.get_buffer("noise").copy_(noise_G)
        self.get_buffer("prototypes").copy_(prototypes_GC)

    def scores(self, values_BK: Tensor, is_known_BK: Tensor, gene_idx: Tensor) -> FactorScores:
        """Factors of samples given the known values.

        Args:
            values_BK: Standardised values; not looked at where not known.
            is_known_BK: Which of them are known.
            gene_idx: Which genes the columns are, shape (K,) or (B, K).
        Source:
            Regression scores of factor analysis (Thomson 1935): precision I + W' N^-1 W and mean
            precision^-1 W' N^-1 z over the known genes; with equal noise, probabilistic PCA.
        """
        with torch.autocast(values_BK.device.type, enabled=False):
            deviation_K = self.get_buffer("noise")[gene_idx].sqrt()
            weight_KR = self.get_buffer("loading")[gene_idx] / deviation_K.unsqueeze(-1)
            weight_BKR = weight_KR * is_known_BK.unsqueeze(-1)
            scaled_BK = torch.where(is_known_BK, values_BK.float(), 0.0) / deviation_K
            identity = torch.eye(weight_BKR.shape[-1], device=weight_BKR.device)
            root_BRR = torch.linalg.cholesky(identity + weight_BKR.transpose(1, 2) @ weight_BKR)
            shares_BR1 = weight_BKR.transpose(1, 2) @ scaled_BK.unsqueeze(-1)
            mean_BR = torch.cholesky_solve(shares_BR1, root_BRR).squeeze(-1)
            return FactorScores(mean_BR, root_BRR, self._nearness(values_BK, is_known_BK, gene_idx))

    def _nearness(self, values_BK: Tensor, is_known_BK: Tensor, gene_idx: Tensor) -> Tensor:
        """Shares (B, C) by squared distance over the known genes, as of a mixture of normal distributions."""
        if self.log_sharpness is None:
            return values_BK.new_zeros(len(values_BK), 0, dtype=torch.float32)
        prototype_KC = self.get_buffer("prototypes")[gene_idx]
        known_BK1 = is_known_BK.unsqueeze(-1).float()
        values_BK1 = torch.where(is_known_BK, values_BK.float(), 0.0).unsqueeze(-1)
        # Without the square of the values, which is the same for every prototype.
        distance_BC = (prototype_KC * (prototype_KC - 2 * values_BK1) * known_BK1).sum(dim=1)
        sharpness: Tensor = self.log_sharpness(torch.zeros(1, dtype=torch.long, device=distance_BC.device)).exp()
        return (-0.5 * sharpness * distance_BC).softmax(dim=-1)

    def predict(self, scores: FactorScores, target_idx: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of genes given the scores, shape (B, T) each; `target_idx` has shape (T,) or (B, T)."""
        with torch.autocast(scores.mean.device.type, enabled=False):
            loading_BTR = self.get_buffer("loading")[target_idx].expand(len(scores.mean), -1, -1)
            mean_BT = (loading_BTR @ scores.mean.unsqueeze(-1)).squeeze(-1)
            spread_BRT = torch.linalg.solve_triangular(scores.root, loading_BTR.transpose(1, 2), upper=False)
            return mean_BT, spread_BRT.square().sum(dim=1) + self.get_buffer("noise")[target_idx]
