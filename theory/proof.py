"""What ``derive`` is made of: an identity that is returned only if SymPy reduces left − right to zero."""

import sympy as sp


def prove(left: sp.Expr | sp.MatrixBase, right: sp.Expr | sp.MatrixBase) -> sp.Eq:
    """left = right, of scalars, explicit matrices or matrix expressions. Raises: AssertionError with the residual."""
    residual = left - right
    if isinstance(residual, sp.MatrixExpr):
        residual = residual.expand().doit()
    else:
        # Most residuals are quotients of polynomials. ``cancel`` decides those in half the time that ``simplify`` takes.
        residual = residual.applyfunc(sp.cancel) if isinstance(residual, sp.MatrixBase) else sp.cancel(residual)
        residual = residual if residual == residual * 0 else sp.simplify(residual)
    # Raised, not asserted: `python -O` removes assertions.
    if not isinstance(residual, sp.MatrixExpr) and residual.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
        raise AssertionError(f"not an identity of numbers: left − right = {residual}")  # NaN times 0 is NaN again
    if residual != residual * 0:
        raise AssertionError(f"not an identity: left − right = {residual}")
    return sp.Eq(left, right, evaluate=False)
