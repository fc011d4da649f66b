"""The rules of an audit: an inventory and plain data in, findings out. No I/O."""

from pairlock.auditing.rules.judging import in_order, judge
from pairlock.auditing.rules.known import BasePlace, Known

__all__ = ["BasePlace", "Known", "in_order", "judge"]
