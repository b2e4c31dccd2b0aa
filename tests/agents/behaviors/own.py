"""Behaviours as a user may write them."""

from pydantic_ai import Agent
from pydantic_ai.capabilities import Capability

from conflictscope import Behavior, Role


class Leaves(Behavior):
    role = Role.USER

    async def stop(self, turn):
        return True


class Suspicious(Behavior):
    role = Role.JUDGE

    def page(self, page, turn):
        return page.replace("action_1", "action_x")  # nothing that a planted judge can read


class Counts(Behavior):
    role = Role.TARGET

    def begin(self):
        self.heard = []

    def incoming(self, message, turn):
        self.heard.append(message)

    def outgoing(self, message, turn):
        return f"{len(self.heard)} {self.seed}\n{message}"


class Agentic(Behavior):
    role = Role.TARGET

    def agent(self):
        return Agent(instructions="You are an agent.")

    def capabilities(self):
        return [Capability(instructions="You are capable.")]


class SaysNothing(Behavior):
    role = Role.JUDGE

    def outgoing(self, message, turn):
        return message


class NoRole(Behavior):
    pass


class Checks(Behavior):
    role = Role.CHECKER


class Needy(Behavior):
    role = Role.USER

    def __init__(self, what):
        self.what = what


class Timeless(Behavior):
    role = Role.USER
    timeout_s = 0


class Stranger:
    role = Role.USER
