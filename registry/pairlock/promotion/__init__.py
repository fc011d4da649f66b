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
from pairlock.promotion.execution.delivering import Sent, execute_sending
from pairlock.promotion.execution.executing import Executed, execute
from pairlock.promotion.planning.sending import plan_sending
from pairlock.promotion.review import History, Repaired, history, repair
from pairlock.promotion.rules.crossing import SendPlan
from pairlock.promotion.rules.plan import Plan
from pairlock.promotion.rules.wishes import PromotionOptions

__all__ = [
    "Executed",
    "History",
    "Plan",
    "PromotionOptions",
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
