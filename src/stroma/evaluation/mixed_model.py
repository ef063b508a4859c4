"""A linear mixed model with a random intercept for each subject, fitted by restricted maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class RandomIntercept:
    """A fitted model y = X β + b(subject) + e, with b of variance `between` and e of variance `within`.

    Attributes:
        beta: (p,) fixed effects.
        covariance: (p, p) of the fixed effects, enlarged for what is not known of the variances (Kenward and Roger
            1997); without that, designs in which few subjects have several groups find too much.
        between: Variance between subjects.
        within: Variance within subjects.
        log_likelihood: Restricted log-likelihood.
    """

    beta: Matrix
    covariance: Matrix
    between: float
    within: float
    log_likelihood: float
    _plain: Matrix
    _gradients: tuple[Matrix, ...]
    _information: Matrix

    def contrast(self, weights: Matrix, confidence: float = 0.95) -> Contrast:
        """Test that a weighted sum of the fixed effects is 0, with the degrees of freedom of Satterthwaite (1946).

        Args:
            weights: (p,) weights.
            confidence: Of the interval, 0-1.
        """
        estimate, variance = float(weights @ self.beta), float(weights @ self.covariance @ weights)
        df = self._df(weights)
        error = float(np.sqrt(variance))
        half = float(stats.t.ppf(0.5 + confidence / 2, df)) * error
        p = float(2 * stats.t.sf(abs(estimate) / error, df))
        return Contrast(estimate, error, df, estimate / error, p, estimate - half, estimate + half)

    @property
    def spread_error(self) -> float:
        """Standard error of the logarithm of the total standard deviation, √(between + within)."""
        variance = float(np.linalg.inv(self._information).sum())
        return float(np.sqrt(max(variance, 0.0)) / (2 * (self.between + self.within)))

    def f_test(self, weights: Matrix) -> tuple[float, float, float]:
        """Test that several weighted sums are 0 together: F, its denominator's degrees of freedom, p.

        Degrees of freedom by Fai and Cornelius (1996).

        Args:
            weights: (q, p) independent rows.
        """
        values, vectors = np.linalg.eigh(weights @ self.covariance @ weights.T)
        rows = vectors.T @ weights
        squares = (rows @ self.beta) ** 2 / values
        f = float(squares.mean())
        dfs = np.array([self._df(row) for row in rows])
        q, total = len(rows), float((dfs[dfs > 2] / (dfs[dfs > 2] - 2)).sum())
        df = float(dfs[0]) if q == 1 else (2 * total / (total - q) if total > q else 2.0)
        return f, df, float(stats.f.sf(f, q, df))

    def _df(self, weights: Matrix) -> float:
        slope = np.array([weights @ gradient @ weights for gradient in self._gradients])
        variance = float(weights @ self._plain @ weights)
        return float(2 * variance**2 / (slope @ np.linalg.solve(self._information, slope)))


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of fixed effects: estimate, standard error, degrees of freedom, t, p and interval."""

    estimate: float
    error: float
    df: float
    t: float
    p: float
    low: float
    high: float


def fit_random_intercept(values: Matrix, design: Matrix, subjects: Sequence[str]) -> RandomIntercept:
    """Fit the model (Patterson and Thompson 1971).

    The likelihood is profiled to one number, the ratio of the two variances, and summed over subjects: with V the
    covariance of the values of a subject, V has one eigenvalue in the direction of the subject's mean and another
    across it, so that no matrix of the size of the data is made.

    Args:
        values: (N,) y.
        design: (N, p) X, of full rank.
        subjects: (N,) whose each value is; at least one subject has to have two values.

    Returns:
        The fit. `between` is 0 where the data show no variance between subjects.
    """
    parts = _Parts.of(values, design, subjects)
    found = optimize.minimize_scalar(
        lambda x: -parts.log_likelihood(float(np.exp(x))), bounds=(-18.0, 18.0), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    ratio = float(np.exp(found.x))
    if parts.log_likelihood(0.0) >= parts.log_likelihood(ratio) - 1e-10:
        ratio = 0.0
    within = parts.within(ratio)
    return parts.fit(ratio * within, within)


@dataclass(frozen=True)
class _Parts:
    """Sums of squares and products of (X, y) across and along the means of each subject."""

    across: Matrix
    along: Matrix
    sizes: Matrix

    @classmethod
    def of(cls, values: Matrix, design: Matrix, subjects: Sequence[str]) -> _Parts:
        _, index = np.unique(np.asarray(subjects), return_inverse=True)
        data = np.column_stack([design, values])
        sizes = np.bincount(index).astype(np.float64)
        means = np.stack([np.bincount(index, weights=column) / sizes for column in data.T], axis=1)
        rest = data - means[index]
        return cls(rest.T @ rest, means, sizes)

    def products(self, along: Matrix, across: float) -> Matrix:
        """(X, y)' f(V) (X, y) for a function that is `along` (per subject) and `across` in the two directions."""
        return self.across * across + (self.along * (along * self.sizes)[:, None]).T @ self.along

    def trace(self, along: Matrix, across: float) -> float:
        return float(along.sum() + across * (self.sizes - 1).sum())

    def solved(self, ratio: float) -> tuple[Matrix, Matrix, float]:
        """β, X'WX and the weighted residual sum of squares for variances `ratio` and 1."""
        products = self.products(1 / (1 + self.sizes * ratio), 1.0)
        inner, cross, square = products[:-1, :-1], products[:-1, -1], products[-1, -1]
        beta: Matrix = np.linalg.solve(inner, cross).astype(np.float64)
        return beta, inner, max(float(square - cross @ beta), 0.0)

    def within(self, ratio: float) -> float:
        return float(self.solved(ratio)[2] / self._freedom)

    @property
    def _freedom(self) -> float:
        return float(self.sizes.sum()) - float(self.across.shape[0] - 1)

    def log_likelihood(self, ratio: float) -> float:
        _, inner, residual = self.solved(ratio)
        scaled = np.log(max(residual, np.finfo(float).tiny) / self._freedom)
        determinants = float(np.log1p(self.sizes * ratio).sum()) + float(np.linalg.slogdet(inner)[1])
        return float(-0.5 * (self._freedom * (1 + np.log(2 * np.pi) + scaled) + determinants))

    def fit(self, between: float, within: float) -> RandomIntercept:
        along, across = within + self.sizes * between, within  # eigenvalues of V
        beta, _, _ = self.solved(between / within)
        size = len(beta)
        covariance: Matrix = np.linalg.inv(self.products(1 / along, 1 / across)[:size, :size]).astype(np.float64)
        ones = np.ones_like(self.sizes)
        kinds = [(ones, 1.0), (self.sizes, 0.0)]  # dV by the variance within, then between subjects

        def inner(function: Callable[[Matrix | float, Matrix | float], Matrix | float], kind: int) -> Matrix:
            a, b = kinds[kind]
            whole = self.products(np.asarray(function(along, a)), float(function(across, b)))
            return whole[:size, :size]

        firsts = [inner(lambda v, d: d / v**2, kind) for kind in range(len(kinds))]
        gradients = tuple(covariance @ first @ covariance for first in firsts)
        information, seconds = np.empty((2, 2)), {}
        for i, (a1, b1) in enumerate(kinds):
            for j, (a2, b2) in enumerate(kinds):
                seconds[i, j] = self.products(a1 * a2 / along**3, b1 * b2 / across**3)[:size, :size]
                trace = self.trace(a1 * a2 / along**2, b1 * b2 / across**2)
                trace += -2 * float(np.trace(covariance @ seconds[i, j]))
                trace += float(np.trace(covariance @ firsts[i] @ covariance @ firsts[j]))
                information[i, j] = trace / 2
        uncertainty = np.linalg.inv(information)
        lack = sum(uncertainty[i, j] * (q - firsts[i] @ covariance @ firsts[j]) for (i, j), q in seconds.items())
        adjusted = covariance + 2 * covariance @ lack @ covariance
        likelihood = self.log_likelihood(between / within)
        return RandomIntercept(beta, adjusted, between, within, likelihood, covariance, gradients, information)
