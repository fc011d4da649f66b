"""Stages: plans, gates, the entries they leave, and the aliases that follow."""

from pairlock.promotion.acts import (
    adopt,
    approve,
    demote,
    plan_promotion,
    promote,
    request,
    rollback,
    send,
)
from pairlock.promotion.crossing import SendPlan
from pairlock.promotion.delivering import Sent, execute_sending
from pairlock.promotion.executing import Executed, execute
from pairlock.promotion.plan import Plan
from pairlock.promotion.review import History, Repaired, history, repair
from pairlock.promotion.sending import plan_sending

__all__ = [
    "Executed",
    "History",
    "Plan",
    "Repaired",
    "SendPlan",
    "Sent",
    "adopt",
    "approve",
    "demote",
    "execute",
    "execute_sending",
    "history",
    "plan_promotion",
    "plan_sending",
    "promote",
    "repair",
    "request",
    "rollback",
    "send",
]
