"""`make example NAME=agent`: an agent with a credit limit. It works until the service refuses a call of the model."""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid4

from langchain_openai import ChatOpenAI

from accounting_client import AccountingClient, BudgetExceeded
from accounting_client.langchain import AccountingCallback
from examples import model
from examples.local_service import LocalService
from local import end_quietly_on_interrupt
from local.steps import Refused, explain

TASK = "Find out why the sky is blue, and think of what to look for next."
LIMIT_CREDITS = 4
MOST_STEPS = 20
SETTINGS: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_completion_tokens": 100,
    "streaming": True,
    "stream_usage": True,  # by default, LangChain asks for usage only if the address is OpenAI's own
}


def work(accounting: AccountingClient) -> int:
    """Call the model at most MOST_STEPS times. Stop when the run's credits do not cover the next call.

    Return the number of answered calls.
    """
    run = accounting.begin_run(f"agent-{uuid4()}", LIMIT_CREDITS)
    paid = AccountingCallback(accounting, run_id=run.run_id)
    llm = ChatOpenAI(**SETTINGS)
    steps, thought = 0, TASK
    try:
        while steps < MOST_STEPS:
            thought = str(llm.invoke(thought, config={"callbacks": [paid]}).content)
            steps += 1
            print(f"step {steps}: {thought[:60]} …")
    except BudgetExceeded as refused:
        print(f"The run has too few credits for a step: {refused.available} left, {refused.required} needed.")
    finally:
        accounting.stop_run(run.account_id, run.run_id)
    summary = accounting.run(run.account_id, run.run_id)
    print(f"{summary.sessions} sessions, {summary.spent_credits} of {summary.limit_credits} credits, {summary.status}")
    return steps


def main() -> int:
    """Run the example; return the exit status."""
    try:
        service = LocalService.running()
    except Refused as refused:
        return explain(refused)
    model.serve_unless_key()
    with AccountingClient(service.url, service.token(), service_key=service.service_key) as accounting:
        work(accounting)
    return 0


if __name__ == "__main__":
    end_quietly_on_interrupt()
    sys.exit(main())
