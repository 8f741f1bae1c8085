"""Records the request bodies that the official SDKs send, for tests/wire/sdk_bodies.jsonl.

    target/sdk-venv/bin/python tests/sdk/record_bodies.py > tests/wire/sdk_bodies.jsonl

The SDKs talk to a server on this machine that notes the path and the body, and refuses every request. Each line has
the `name` of the case, the `api`, the `path` and the `body` as they arrived.
"""

import base64
import contextlib
import http.server
import json
import os
import struct
import sys
import threading
import zlib

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

import anthropic
import openai
from google import genai
from google.genai import types

arrived: list[tuple[str, dict]] = []


class Logger(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        arrived.append((self.path, json.loads(body)))
        refusal = b'{"error":{"message":"noted","type":"invalid_request_error","code":400}}'
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(refusal)))
        self.end_headers()
        self.wfile.write(refusal)

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Logger)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_address[1]}"

OPENAI = openai.OpenAI(api_key="sk-none", base_url=f"{URL}/v1", max_retries=0)
ANTHROPIC = anthropic.Anthropic(api_key="sk-ant-none", base_url=URL, max_retries=0)
GEMINI = genai.Client(api_key="AQ.none", http_options=types.HttpOptions(base_url=URL))


def png(width: int, height: int, shade: int = 0) -> bytes:
    """A picture of one shade of grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + bytes([shade] * 3) * width for _ in range(height)))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PNG, OTHER_PNG = png(4, 3), png(5, 4, 200)
PNG64, OTHER_PNG64 = base64.b64encode(PNG).decode(), base64.b64encode(OTHER_PNG).decode()
PDF64 = base64.b64encode(b"%PDF-1.4\n1 0 obj <<>> endobj\ntrailer <<>>\n%%EOF\n").decode()
WAV64 = base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0").decode()
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Its name"}, "people": {"type": ["integer", "null"]}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"], "additionalProperties": False}


def record(api: str, cases: dict, send) -> None:
    for name, arguments in cases.items():
        arrived.clear()
        with contextlib.suppress(openai.BadRequestError, anthropic.BadRequestError, genai.errors.ClientError):
            send(arguments)
        if len(arrived) != 1:
            sys.exit(f"{api} {name}: {len(arrived)} requests arrived")
        path, body = arrived[0]
        json.dump({"name": name, "api": api, "path": path, "body": body}, sys.stdout, ensure_ascii=False)
        print()


def openai_cases() -> dict:
    user = [{"role": "user", "content": "What is the capital of Norway?"}]
    weather = {
        "type": "function",
        "function": {"name": "weather", "description": "The weather at a place", "parameters": PLACE, "strict": True},
    }
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"place":"Oslo"}'}}
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG64}"}}

    def look(*parts: dict) -> list:
        return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, *parts]}]

    def schema(**fields: object) -> dict:
        return {"type": "json_schema", "json_schema": {"name": "city_facts", "schema": CITY, **fields}}

    return {
        "plain": {"messages": user},
        "system": {"messages": [{"role": "system", "content": "Be brief."}, *user]},
        "developer": {"messages": [{"role": "developer", "content": "Be brief."}, *user]},
        "sampling": {"messages": user, "temperature": 0.3, "top_p": 0.9, "seed": 7, "stop": ["END", "\n\n"]},
        "one stop": {"messages": user, "stop": "END"},
        "max tokens": {"messages": user, "max_tokens": 60},
        "max completion tokens": {"messages": user, "max_completion_tokens": 70},
        "penalties": {"messages": user, "presence_penalty": 0.4, "frequency_penalty": -0.2},
        "penalties of zero": {"messages": user, "presence_penalty": 0, "frequency_penalty": 0.0},
        "logit bias": {"messages": user, "logit_bias": {"50256": -100}},
        "log probabilities": {"messages": user, "logprobs": True, "top_logprobs": 3},
        "several answers": {"messages": user, "n": 3, "temperature": 1.1},
        "user": {"messages": user, "user": "user-17"},
        "safety identifier": {"messages": user, "safety_identifier": "hash-17"},
        "metadata and store": {"messages": user, "metadata": {"batch": "seven"}, "store": True},
        "not stored": {"messages": user, "store": False},
        "service tier": {"messages": user, "service_tier": "flex"},
        "cache key": {"messages": user, "prompt_cache_key": "norway", "prompt_cache_retention": "24h"},
        "reasoning effort": {"messages": user, "reasoning_effort": "low", "verbosity": "low"},
        "no reasoning": {"messages": user, "reasoning_effort": "none"},
        "json object": {"messages": user, "response_format": {"type": "json_object"}},
        "json schema": {"messages": user, "response_format": schema()},
        "strict json schema": {"messages": user, "response_format": schema(strict=True, description="Facts of a city")},
        "text format": {"messages": user, "response_format": {"type": "text"}},
        "tools": {"messages": user, "tools": [weather], "tool_choice": "auto", "parallel_tool_calls": False},
        "a tool by name": {
            "messages": user,
            "tools": [weather],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
        },
        "tool results": {
            "messages": [
                *user,
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": '{"degrees":4}'},
            ],
            "tools": [weather],
        },
        "picture": {"messages": look(picture)},
        "detail of a picture": {
            "messages": look({"type": "image_url", "image_url": {**picture["image_url"], "detail": "low"}})
        },
        "two pictures and a url": {
            "messages": look(
                picture,
                {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.jpg", "detail": "high"}},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{OTHER_PNG64}"}},
            )
        },
        "audio": {"messages": look({"type": "input_audio", "input_audio": {"data": WAV64, "format": "wav"}})},
        "a document": {
            "messages": look(
                {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF64}"}}
            )
        },
        "names of speakers": {
            "messages": [
                {"role": "user", "name": "anna", "content": "Hello"},
                {"role": "assistant", "content": "Hello, Anna."},
                {"role": "user", "name": "ben", "content": "And me?"},
            ]
        },
        "a late system message": {
            "messages": [*user, {"role": "assistant", "content": "Oslo."}, {"role": "system", "content": "Now in French."}, *user]
        },
        "predicted output": {"messages": user, "prediction": {"type": "content", "content": "Oslo"}},
        "web search": {"messages": user, "web_search_options": {"search_context_size": "low"}},
        "fields of tomorrow": {"messages": user, "extra_body": {"top_k": 20, "min_p": 0.1, "mood": {"calm": True}}},
        "everything": {
            "messages": [{"role": "system", "content": "Look well."}, *look(picture)],
            "tools": [weather],
            "tool_choice": "required",
            "response_format": schema(strict=True),
            "reasoning_effort": "high",
            "max_completion_tokens": 500,
            "logprobs": True,
            "user": "user-18",
            "metadata": {"a": "b"},
        },
    }


def anthropic_cases() -> dict:
    user = [{"role": "user", "content": "What is the capital of Norway?"}]
    base = {"max_tokens": 100, "messages": user}
    weather = {"name": "weather", "description": "The weather at a place", "input_schema": PLACE}
    short = {"type": "ephemeral"}
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG64}}
    text = {"type": "text", "text": "What is this?"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"place": "Oslo"}}
    return {
        "plain": base,
        "system": {**base, "system": "Be brief."},
        "system in blocks": {**base, "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "And kind."}]},
        "cached system": {**base, "system": [{"type": "text", "text": "A long text.", "cache_control": short}]},
        "cached for an hour": {
            **base,
            "messages": [
                {"role": "user", "content": [{**text, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            ],
        },
        "cached by itself": {**base, "cache_control": short},
        "sampling": {**base, "extra_body": {"temperature": 0.4, "top_p": 0.8, "top_k": 12}, "stop_sequences": ["END"]},
        "thinking": {**base, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}},
        "adaptive thinking": {**base, "thinking": {"type": "adaptive"}},
        "adaptive thinking, summarized": {**base, "thinking": {"type": "adaptive", "display": "summarized"}},
        "no thinking": {**base, "thinking": {"type": "disabled"}},
        "effort": {**base, "output_config": {"effort": "low"}},
        "json schema": {**base, "output_config": {"format": {"type": "json_schema", "schema": CITY}}},
        "tools": {**base, "tools": [weather], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        "cached tools": {**base, "tools": [{**weather, "cache_control": short}], "tool_choice": {"type": "any"}},
        "a tool of the server": {
            **base,
            "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}],
        },
        "tool results": {
            **base,
            "tools": [weather],
            "messages": [
                *user,
                {"role": "assistant", "content": [{"type": "text", "text": "I look."}, use]},
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "4 degrees"}],
                },
            ],
        },
        "thoughts of before": {
            **base,
            "messages": [
                *user,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                        {"type": "text", "text": "Oslo."},
                    ],
                },
                {"role": "user", "content": "Sure?"},
            ],
        },
        "metadata": {**base, "metadata": {"user_id": "user-17"}},
        "service tier": {**base, "service_tier": "standard_only"},
        "picture": {**base, "messages": [{"role": "user", "content": [picture, text]}]},
        "cached picture": {**base, "messages": [{"role": "user", "content": [{**picture, "cache_control": short}, text]}]},
        "picture by url": {
            **base,
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://pictures.example/cat.jpg"}}, text],
                }
            ],
        },
        "a document with citations": {
            **base,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF64},
                            "title": "A page",
                            "citations": {"enabled": True},
                        },
                        text,
                    ],
                }
            ],
        },
        "the beginning of the answer": {**base, "messages": [*user, {"role": "assistant", "content": "The capital is"}]},
        "fields of tomorrow": {**base, "extra_body": {"mood": ["calm"], "depth": 3}},
    }


def gemini_cases() -> dict:
    ask = "What is the capital of Norway?"
    picture = types.Part.from_bytes(data=PNG, mime_type="image/png")
    weather = types.FunctionDeclaration(
        name="weather",
        description="The weather at a place",
        parameters={"type": "OBJECT", "properties": {"place": {"type": "STRING"}}, "required": ["place"]},
    )
    harm = ["HARM_CATEGORY_HARASSMENT", "HARM_CATEGORY_SEXUALLY_EXPLICIT", "HARM_CATEGORY_DANGEROUS_CONTENT"]

    def case(contents: object = ask, **config: object) -> dict:
        return {"contents": contents, "config": config or None}

    return {
        "plain": case(),
        "system": case(system_instruction="Be brief."),
        "sampling": case(temperature=0.3, top_p=0.9, top_k=20, seed=7, stop_sequences=["END"]),
        "output limit": case(max_output_tokens=80),
        "penalties": case(presence_penalty=0.4, frequency_penalty=-0.2),
        "several answers": case(candidate_count=2),
        "log probabilities": case(response_logprobs=True, logprobs=3),
        "safety settings": case(
            contents=[picture, "Caption this."],
            safety_settings=[{"category": name, "threshold": "BLOCK_NONE"} for name in harm],
        ),
        "media resolution": case(contents=[picture, "Caption this."], media_resolution="MEDIA_RESOLUTION_LOW"),
        "thinking level": case(thinking_config={"thinking_level": "LOW"}),
        "thinking budget": case(thinking_config={"thinking_budget": 512, "include_thoughts": True}),
        "no thinking": case(thinking_config={"thinking_budget": 0}),
        "dynamic thinking": case(thinking_config={"thinking_budget": -1}),
        "json": case(response_mime_type="application/json"),
        "schema of Google": case(
            response_mime_type="application/json",
            response_schema={
                "type": "OBJECT",
                "properties": {"city": {"type": "STRING"}, "people": {"type": "INTEGER", "nullable": True}},
                "property_ordering": ["city", "people"],
            },
        ),
        "json schema": case(response_mime_type="application/json", response_json_schema=CITY),
        "an enumeration": case(response_mime_type="text/x.enum", response_schema={"type": "STRING", "enum": ["yes", "no"]}),
        "tools": case(
            tools=[{"function_declarations": [weather]}],
            tool_config={"function_calling_config": {"mode": "ANY", "allowed_function_names": ["weather"]}},
            automatic_function_calling={"disable": True},
        ),
        "web search": case(tools=[{"google_search": {}}]),
        "code execution": case(tools=[{"code_execution": {}}]),
        "tool results": case(
            contents=[
                types.Content(role="user", parts=[types.Part(text="What is the weather in Oslo?")]),
                types.Content(role="model", parts=[types.Part.from_function_call(name="weather", args={"place": "Oslo"})]),
                types.Content(
                    role="user", parts=[types.Part.from_function_response(name="weather", response={"degrees": 4})]
                ),
            ],
            tools=[{"function_declarations": [weather]}],
        ),
        "picture": case(contents=[picture, "What is this?"]),
        "two pictures": case(
            contents=["Compare", picture, types.Part.from_bytes(data=OTHER_PNG, mime_type="image/png")]
        ),
        "a conversation": case(
            contents=[
                types.Content(role="user", parts=[types.Part(text="Hello")]),
                types.Content(role="model", parts=[types.Part(text="Hello!")]),
                types.Content(role="user", parts=[types.Part(text="What is two and two?")]),
            ]
        ),
        "audio": case(contents=[types.Part.from_bytes(data=base64.b64decode(WAV64), mime_type="audio/wav"), "Write it down."]),
        "a document": case(contents=[types.Part.from_bytes(data=base64.b64decode(PDF64), mime_type="application/pdf"), "Sum up."]),
        "a cache": case(cached_content="cachedContents/abc"),
        "a voice": case(response_modalities=["TEXT"], speech_config={"language_code": "en-US"}),
    }


def embedding_cases() -> dict:
    return {
        "embedding": {"input": "Oslo"},
        "embeddings": {"input": ["Oslo", "Bergen"], "dimensions": 8, "encoding_format": "float", "user": "user-17"},
    }


record("openai", openai_cases(), lambda case: OPENAI.chat.completions.create(model="m", **case))
record("openai", embedding_cases(), lambda case: OPENAI.embeddings.create(model="m", **case))
record("anthropic", anthropic_cases(), lambda case: ANTHROPIC.messages.create(model="m", **case))
record("gemini", gemini_cases(), lambda case: GEMINI.models.generate_content(model="m", **case))
