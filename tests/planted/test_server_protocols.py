from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic_ai import Agent, ToolOutput
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings

from conflictscope.agents.judge import JudgeReply
from conflictscope.planted import planted_model
from conflictscope.planted.server.chat_completions import ChatCompletions
from conflictscope.planted.server.exchange import Dialect
from conflictscope.planted.server.messages import Messages
from conflictscope.planted.server.responses import Responses
from tests.planted.served import (
    CHAT,
    LEXICON,
    MESSAGES,
    OPENING,
    PAGE,
    PATHS,
    QUESTION,
    RESPONSES,
    body,
    is_verdict,
    models,
    plant,
    sdks,
    words,
    world,
)

SCHEMA = JudgeReply.model_json_schema()


# -- the official clients ----------------------------------------------------------------------------------------------


async def test_the_official_clients_read_every_reply() -> None:
    """Text, finish, usage and a fresh id come through chat completions, responses and messages."""
    expected = planted_model(world(), "t", LEXICON).reply("", [OPENING])
    async with plant() as (server, _), sdks(server) as (openai, anthropic):
        chats = [await openai.chat.completions.create(**body(CHAT)) for _ in range(2)]
        responses = [await openai.responses.create(**body(RESPONSES)) for _ in range(2)]
        messages = [await anthropic.messages.create(**body(MESSAGES)) for _ in range(2)]
    assert [chat.choices[0].message.content for chat in chats] == [expected.text] * 2
    assert [response.output_text for response in responses] == [expected.text] * 2
    assert [message.content[0].text for message in messages] == [expected.text] * 2
    chat, response, message = chats[0], responses[0], messages[0]
    assert (chat.choices[0].finish_reason, response.status, message.stop_reason) == ("stop", "completed", "end_turn")
    assert (chat.usage.prompt_tokens, chat.usage.completion_tokens) == (expected.input_tokens, expected.output_tokens)
    for usage in (response.usage, message.usage):
        assert (usage.input_tokens, usage.output_tokens) == (expected.input_tokens, expected.output_tokens)
    assert len({reply.id for reply in (*chats, *responses, *messages)}) == 6


async def test_the_official_clients_read_every_stream() -> None:
    """The streamed reply is the reply, in pieces, with its usage."""
    expected = planted_model(world(), "t", LEXICON).reply("", [OPENING])
    async with plant() as (server, _), sdks(server) as (openai, anthropic):
        stream = await openai.chat.completions.create(**body(CHAT, stream=True, stream_options={"include_usage": True}))
        chunks = [chunk async for chunk in stream]
        bare = [chunk async for chunk in await openai.chat.completions.create(**body(CHAT, stream=True))]
        async with openai.responses.stream(**body(RESPONSES)) as events:
            kinds = [event.type async for event in events]
            response = await events.get_final_response()
        async with anthropic.messages.stream(**body(MESSAGES)) as told:
            message = await told.get_final_message()
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert ("".join(pieces), len(pieces) > 3) == (expected.text, True)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == expected.input_tokens + expected.output_tokens
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None and chunk.choices for chunk in bare)
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert response.output_text == message.content[0].text == expected.text
    assert response.usage.output_tokens == message.usage.output_tokens == expected.output_tokens
    assert message.stop_reason == "end_turn"


async def test_the_official_clients_list_the_models() -> None:
    """Targets and roles, in the shape of the service that is asked; one by its name."""
    async with plant() as (server, _), sdks(server) as (openai, anthropic):
        assert [model.id async for model in openai.models.list()] == server.models == [*world().models]
        assert [model.id async for model in anthropic.models.list()] == server.models
        assert (await openai.models.retrieve("judge")).id == (await anthropic.models.retrieve("judge")).id == "judge"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_long_reply_is_cut_and_marked(stream: bool) -> None:
    """Every protocol says in its own way that the token limit cut the reply, with usage to match."""
    async with plant() as (server, _):
        for path in PATHS:
            async with models(server, "t") as by_path:
                asked: list[ModelMessage] = [ModelRequest.user_text_prompt(OPENING)]
                settings = ModelSettings(max_tokens=20)
                if stream:
                    async with model_request_stream(by_path[path], asked, model_settings=settings) as events:
                        async for _ in events:
                            pass
                    reply = events.get()
                else:
                    reply = await model_request(by_path[path], asked, model_settings=settings)
            assert (reply.finish_reason, reply.usage.output_tokens, len(reply.text or "")) == ("length", 20, 79), path


# -- pydantic-ai -------------------------------------------------------------------------------------------------------

CALL = ToolCallPart("look_up", {"rule": "r"}, tool_call_id="c1")
CONVERSATIONS: dict[str, list[ModelMessage]] = {
    "one": [ModelRequest(parts=[UserPromptPart(OPENING)])],
    "instructed": [ModelRequest(parts=[UserPromptPart(QUESTION)], instructions="1. y: thrift.\n2. x: care.")],
    "system": [ModelRequest(parts=[SystemPromptPart("1. y: thrift."), UserPromptPart(OPENING)], instructions="Be kind.")],
    "several": [
        ModelRequest(parts=[UserPromptPart(OPENING)]),
        ModelResponse(parts=[TextPart("Which one, do you think?")]),
        ModelRequest(parts=[UserPromptPart("You decide."), UserPromptPart(["Now ", "please."])]),
    ],
    "tools": [
        ModelRequest(parts=[UserPromptPart(OPENING)]),
        ModelResponse(parts=[CALL]),
        ModelRequest(parts=[ToolReturnPart("look_up", "There is no such rule.", tool_call_id="c1")]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_a_model_says_the_same_in_process_and_over_http(name: str) -> None:
    """For one conversation and seed, with system prompts, instructions and tool results; also without a seed elsewhere."""
    messages = CONVERSATIONS[name]
    in_process = planted_model(world(), "t", LEXICON)
    async with plant() as (server, _), models(server, "t") as by_path:
        for seed in (0, 1, 2, 3):
            settings = ModelSettings(seed=seed)
            here = await model_request(in_process, messages, model_settings=settings)
            there = await model_request(by_path[CHAT], messages, model_settings=settings)
            assert (there.text, there.finish_reason) == (here.text, here.finish_reason)
            assert (there.usage.input_tokens, there.usage.output_tokens) == (
                here.usage.input_tokens,
                here.usage.output_tokens,
            )
        unseeded = await model_request(in_process, messages)
        for path in (RESPONSES, MESSAGES):
            assert (await model_request(by_path[path], messages)).text == unseeded.text


@pytest.mark.parametrize("output", [JudgeReply, ToolOutput(JudgeReply)], ids=["default", "tool"])
@pytest.mark.parametrize("path", PATHS)
async def test_an_agent_gets_a_typed_verdict(path: str, output: Any) -> None:
    """pydantic-ai's own way to typed output works over each protocol, streamed or not."""
    async with plant() as (server, _), models(server, "judge") as by_path:
        agent = Agent(by_path[path], output_type=output, instructions="You are the judge.")
        assert (await agent.run(PAGE)).output.action == "action_1"
        async with agent.run_stream(PAGE) as result:
            assert (await result.get_output()).action == "action_1"


@pytest.mark.parametrize("path", PATHS)
async def test_a_judge_is_asked_by_words_and_asked_again(path: str) -> None:
    """Prompted output adds words to the instructions, and a complaint follows a reply: the verdict is of the same page."""
    output = OutputObjectDefinition(json_schema=SCHEMA, name="JudgeReply", strict=True)
    parameters = ModelRequestParameters(output_mode="prompted", output_object=output)
    again = [
        ModelRequest(parts=[UserPromptPart(PAGE)]),
        ModelResponse(parts=[TextPart("Action 1.")]),
        ModelRequest(
            parts=[UserPromptPart("That reply does not fit the required shape.")], instructions="You are the judge."
        ),
    ]
    async with plant() as (server, _), models(server, "judge") as by_path:
        for messages in (again[:1], again):
            reply = await model_request(by_path[path], messages, model_request_parameters=parameters)
            assert JudgeReply.model_validate_json(reply.text or "").action == "action_1"


@pytest.mark.parametrize("path", PATHS)
async def test_an_agent_calls_its_tool_and_goes_on(path: str) -> None:
    """A reply in JSON becomes a call of the one tool on offer; what the tool returned is answered in text."""
    called: list[tuple[str, int]] = []
    async with plant() as (server, _), models(server, "judge") as by_path:
        agent = Agent(by_path[path])

        @agent.tool_plain
        def note(action: str, strength: int, reasoning: str, resolved: bool) -> str:
            called.append((action, strength))
            return "Noted."

        result = await agent.run(PAGE)
    assert called == [("action_1", 7)]
    assert is_verdict(result.output)


# -- tools and schemas, as they stand on the wire ----------------------------------------------------------------------


def tools(path: str, *names: str, schema: dict[str, Any] = SCHEMA) -> list[dict[str, Any]]:
    function = {"description": "Say it."}
    if path == CHAT:
        return [{"type": "function", "function": {"name": name, "parameters": schema, **function}} for name in names]
    key = "input_schema" if path == MESSAGES else "parameters"
    kind = {} if path == MESSAGES else {"type": "function"}
    return [{**kind, "name": name, key: schema, **function} for name in names]


def calls(path: str, reply: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    if path == CHAT:
        made = reply["choices"][0]["message"].get("tool_calls", [])
        return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in made]
    if path == RESPONSES:
        made = [item for item in reply["output"] if item["type"] == "function_call"]
        return [(call["name"], json.loads(call["arguments"])) for call in made]
    return [(block["name"], block["input"]) for block in reply["content"] if block["type"] == "tool_use"]


NAMED = {
    CHAT: {"type": "function", "function": {"name": "second"}},
    RESPONSES: {"type": "function", "name": "second"},
    MESSAGES: {"type": "tool", "name": "second"},
}


@pytest.mark.parametrize("path", PATHS)
async def test_a_forced_tool_is_called(path: str) -> None:
    """By name, or any that fits; without force a single tool is called with JSON only, and none where that is said."""
    any_tool = {"type": "any"} if path == MESSAGES else "required"
    none = {"type": "none"} if path == MESSAGES else "none"
    async with plant() as (_, client):

        async def ask(model: str, text: str, *names: str, **more: Any) -> list[tuple[str, dict[str, Any]]]:
            sent = body(path, text, model, tools=tools(path, *names), **more)
            return calls(path, (await client.post(path, json=sent)).json())

        (call,) = await ask("judge", PAGE, "first", "second", tool_choice=NAMED[path])
        assert (call[0], call[1]["action"]) == ("second", "action_1")
        (call,) = await ask("judge", PAGE, "first", "second", tool_choice=any_tool)
        assert (call[0], call[1]["action"]) == ("first", "action_1")
        (call,) = await ask("t", OPENING, "first", tool_choice=any_tool)
        assert (call[0], "Here is what I do" in call[1]["reasoning"]) == ("first", True)
        assert [name for name, _ in await ask("judge", PAGE, "first")] == ["first"]
        assert await ask("judge", PAGE, "first", "second") == []
        assert await ask("judge", PAGE, "first", tool_choice=none) == []
        assert await ask("t", OPENING, "first") == []


@pytest.mark.parametrize("path", PATHS)
async def test_a_call_that_is_cut_holds_the_beginning_of_its_arguments(path: str) -> None:
    """The token limit cuts a call as it cuts text; Anthropic's arguments are an object, and then an empty one."""
    any_tool = {"type": "any"} if path == MESSAGES else "required"
    limit = {CHAT: "max_tokens", RESPONSES: "max_output_tokens", MESSAGES: "max_tokens"}[path]
    sent = {**body(path, PAGE, "judge"), "tools": tools(path, "first"), "tool_choice": any_tool, limit: 10}
    async with plant() as (_, client):
        reply = (await client.post(path, json=sent)).json()
    if path == CHAT:
        (choice,) = reply["choices"]
        finish, arguments = choice["finish_reason"], choice["message"]["tool_calls"][0]["function"]["arguments"]
    elif path == RESPONSES:
        finish, arguments = reply["incomplete_details"]["reason"], reply["output"][0]["arguments"]
    else:
        finish, arguments = reply["stop_reason"], reply["content"][0]["input"]
    assert finish == {CHAT: "length", RESPONSES: "max_output_tokens", MESSAGES: "max_tokens"}[path]
    assert arguments == ({} if path == MESSAGES else '{"reasoning": "The assistant\'s last mes')


@pytest.mark.parametrize("path", PATHS)
async def test_a_schema_is_answered_with_json_as_text(path: str) -> None:
    """The three ways to ask for output of a JSON schema."""
    more: dict[str, Any] = {
        CHAT: {"response_format": {"type": "json_schema", "json_schema": {"name": "v", "schema": SCHEMA}}},
        RESPONSES: {"text": {"format": {"type": "json_schema", "name": "v", "schema": SCHEMA}}},
        MESSAGES: {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    }[path]
    async with plant() as (_, client):
        reply = (await client.post(path, json={**body(path, PAGE, "judge"), **more})).json()
    assert is_verdict(words(path, reply))


TEXT = "1. y: thrift."
BLOCKS = [{"type": "text", "text": TEXT}]
SAID = [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]


@pytest.mark.parametrize(
    ("dialect", "asked"),
    [
        *((ChatCompletions(), {"messages": [{"role": role, "content": content}, *SAID]})
          for role in ("system", "developer") for content in (TEXT, BLOCKS)),
        (Responses(), {"instructions": TEXT, "input": QUESTION}),
        *((Responses(), {"input": [{"role": role, "content": content}, *SAID]})
          for role in ("system", "developer") for content in (TEXT, BLOCKS)),
        *((Messages(), {"system": content, "messages": SAID, "max_tokens": 9}) for content in (TEXT, BLOCKS)),
    ],
)  # fmt: skip
def test_system_prompts_are_read_in_every_shape(dialect: Dialect, asked: dict[str, Any]) -> None:
    """Roles system and developer, `instructions`, `system` as text and as blocks: the model is asked the same."""
    ask = dialect.read({"model": "t", **asked})
    assert (ask.instructions, ask.texts) == (TEXT, [QUESTION])
