"""Fits linear heads over columns and n-grams: softmax regression with L2, by L-BFGS, the same result at every run.

Data sets that label by different rules each get a bias of their own while training; what ships is the bias of group 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from chatwright.adapters.models.grams import BUCKETS, Grams
from chatwright.adapters.models.linear import LinearHead

Floats = NDArray[np.float32]
SEEN_AT_LEAST = 2
"""Texts that a gram must stand in to get a weight."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """`columns` (n, D), `grams` of the same n texts, `targets` (n, classes) with rows that sum to 1, `weights` (n,),
    `group` the label rule of their data set: 0 is the product's own."""

    columns: Floats
    grams: Grams
    targets: Floats
    weights: Floats
    group: int


def fit(
    sets: Sequence[Rows], classes: tuple[str, ...], *, gains: Floats, l2: float, l2_grams: float, steps: int = 40
) -> LinearHead:
    """`gains` (D,): columns with a larger one are penalised less; 0 leaves a column out."""
    columns = np.concatenate([rows.columns for rows in sets])
    mean, spread = columns.mean(axis=0), columns.std(axis=0) + 1e-3
    dense = torch.from_numpy(((columns - mean) / spread * gains).astype(np.float32))
    targets = torch.from_numpy(np.concatenate([rows.targets for rows in sets]))
    weights = torch.from_numpy(np.concatenate([rows.weights for rows in sets]))
    weights /= weights.sum()
    groups = torch.from_numpy(np.concatenate([np.full(len(rows.weights), rows.group) for rows in sets]))
    sparse, kept = _matrix([rows.grams for rows in sets])
    transposed = sparse.t().coalesce()

    class Product(torch.autograd.Function):
        """`sparse @ weights`: torch's own gradient of it would be dense."""

        @staticmethod
        def forward(_: object, table: torch.Tensor) -> torch.Tensor:
            return torch.sparse.mm(sparse, table)

        @staticmethod
        def backward(_: object, gradient: torch.Tensor) -> torch.Tensor:
            return torch.sparse.mm(transposed, gradient)

    head = torch.zeros(dense.shape[1], len(classes), requires_grad=True)
    table = torch.zeros(len(kept), len(classes), requires_grad=True)
    biases = torch.zeros(int(groups.max()) + 1, len(classes), requires_grad=True)
    optimizer = torch.optim.LBFGS([head, table, biases], max_iter=steps, history_size=12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        own = torch.where((groups > 0)[:, None], biases[groups], torch.zeros(1))
        scores = dense @ head + Product.apply(table) + biases[0] + own
        loss = -(weights * (targets * functional.log_softmax(scores, 1)).sum(1)).sum()
        loss = loss + l2 * head.square().sum() + l2_grams * table.square().sum() + 1e-4 * biases.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    weights_of_columns = head.detach().numpy() * (gains / spread)[:, None]
    gram_weights = np.zeros((BUCKETS, len(classes)), np.float32)
    gram_weights[kept] = table.detach().numpy()
    return LinearHead.of(
        classes,
        dense=weights_of_columns.astype(np.float32),
        grams=gram_weights,
        bias=(biases[0].detach().numpy() - mean @ weights_of_columns).astype(np.float32),
        temperature=1.0,
    )


def calibrate(scores: Floats, targets: Floats, weights: Floats) -> float:
    """The temperature at which the targets are likeliest."""
    candidates = np.geomspace(0.3, 3.0, 60)
    losses: list[float] = []
    for temperature in candidates:
        raised = scores / temperature
        raised = raised - raised.max(axis=1, keepdims=True)
        log = raised - np.log(np.exp(raised).sum(axis=1, keepdims=True))
        losses.append(float(-(weights[:, None] * targets * log).sum()))
    return float(candidates[int(np.argmin(losses))])


def _matrix(grams: Sequence[Grams]) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Texts × buckets that enough texts hold, and which buckets these are."""
    buckets = np.concatenate([part.buckets for part in grams])
    weights = np.concatenate([part.weights for part in grams])
    lengths = np.concatenate([np.diff(part.offsets) for part in grams])
    counts = np.bincount(buckets, minlength=BUCKETS)
    kept = np.flatnonzero(counts >= SEEN_AT_LEAST)
    place = np.full(BUCKETS, -1, np.int64)
    place[kept] = np.arange(len(kept))
    rows = np.repeat(np.arange(len(lengths)), lengths)
    known = place[buckets] >= 0
    at = torch.from_numpy(np.stack([rows[known], place[buckets[known]]]))
    shape = (len(lengths), len(kept))
    return torch.sparse_coo_tensor(at, torch.from_numpy(weights[known]), shape).coalesce(), kept
