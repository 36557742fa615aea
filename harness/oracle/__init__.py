"""A second opinion on the filter engine: what random sequences of operations must come to, by the documents alone.

The same sequence is driven against the model's engine, the reference guest or Windows (`plan`, then `disagreement`):
where the specification and a guest differ, one of the two is wrong.
"""

from __future__ import annotations

from harness.oracle.comparison import Observed, Step, disagreement, plan, shortest
from harness.oracle.specification import Call, Outcome, Specification, Unspecified

__all__ = ["Call", "Observed", "Outcome", "Specification", "Step", "Unspecified", "disagreement", "plan", "shortest"]
