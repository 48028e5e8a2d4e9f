"""Products of activations and kernels, with the gradients that XLA would derive more slowly or with more memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x @ kernel: [..., n] x [n, m] -> [..., m].

    The gradient is the usual one, with a barrier before it: without one XLA on CPU fuses the elementwise work that
    makes the cotangent into the transposed copy that the kernel's gradient reads, element by element and several
    times over, which made a training step twice as slow.
    """
    return x @ kernel


def _matmul_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _matmul_backward(residuals, g):
    g, x = jax.lax.optimization_barrier((g, residuals[0]))
    rows = lambda y: y.reshape(-1, y.shape[-1])  # noqa: E731
    x, y = rows(x), rows(g)
    # the narrower of the two is the one to be transposed
    grad = x.T @ y if x.shape[1] <= y.shape[1] else (y.T @ x).T
    return g @ residuals[1].T, grad.astype(residuals[1].dtype)


matmul.defvjp(_matmul_forward, _matmul_backward)


@jax.custom_vjp
def adapted_matmul(x: jax.Array, kernel: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """x @ (kernel + a @ b): [..., n] x [n, m], [n, rank], [rank, m] -> [..., m].

    In float32 and with more than n / 2 rows the sum of the kernels is made, at every use, as it is smaller than the
    results of the second products of a block; else, and below float32, where the sum would round the adapters away,
    x @ kernel + (x @ a) @ b.
    The kernel's gradient is none of the work where nothing asks for it. Temporaries are those of the kernel alone and
    little more because neither a sum nor what the adapters' gradients need can be made before its time (`_after`).
    """
    if _sum_is_smaller(x, kernel):
        return x @ (kernel + _after(x, a) @ b)
    return x @ kernel + (x @ a) @ b


def _sum_is_smaller(x, kernel):
    return kernel.dtype == jnp.float32 and 2 * x.size > kernel.shape[0] ** 2


def _after(x: jax.Array, small: jax.Array) -> jax.Array:
    """`small`, and not before `x` is there: 0 times one of its numbers is added.

    Barriers do not last on CPU: the compiler would take the sums of kernels out of the loop over micro-batches, and
    make the recomputation's short products, and with them all of it, before the backward pass has come to them.
    """
    return small + 0.0 * x[(0,) * x.ndim].astype(small.dtype)


def _adapted_forward(x, kernel, a, b):
    return adapted_matmul(x, kernel, a, b), (x, kernel, a, b)


def _adapted_backward(residuals, g):
    x, kernel, a, b = residuals
    g, x = jax.lax.optimization_barrier((g, x))
    rows = lambda y: y.reshape(-1, y.shape[-1])  # noqa: E731
    late, low = _after(g, a), g @ b.T
    grad_a, grad_b = rows(x).T @ rows(low), rows(x @ late).T @ rows(g)
    grad_x = g @ (kernel + late @ b).T if _sum_is_smaller(x, kernel) else g @ kernel.T + low @ a.T
    return grad_x, (rows(x).T @ rows(g)).astype(kernel.dtype), grad_a.astype(a.dtype), grad_b.astype(b.dtype)


adapted_matmul.defvjp(_adapted_forward, _adapted_backward)


def head_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x @ kernel in float32, for logits: rounded to bfloat16 they would bias entropies, and ties would be many."""
    if x.dtype == jnp.float32:
        return matmul(x, kernel)
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)
