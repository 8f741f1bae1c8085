"""The official SDKs against the simulated provider: they check its bodies and headers.

SIM_URL is the address of a running simulator with profile.toml of this folder; the script `run` starts it.
"""

import base64
import functools
import os
import struct
import unittest
import zlib

import anthropic
import openai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

URL = os.environ["SIM_URL"].rstrip("/")


def png(width: int, height: int) -> bytes:
    """A black picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + b"\0\0\0" * width for _ in range(height)))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PICTURE = png(40, 30)
PICTURE_BASE64 = base64.b64encode(PICTURE).decode()
PICTURE_WORDS = "A picture of 40x30 pixels, wider than tall"


class Gemini(unittest.TestCase):
    LITE, SCARCE = "gemini-3.5-flash-lite", "gemini-3.8-flash"

    # Cached, because a client without a reference closes itself, even during a request.
    @functools.cache
    def client(self, key: str = "AIzaSim-sdk") -> genai.Client:
        return genai.Client(api_key=key, http_options=genai_types.HttpOptions(base_url=URL))

    def test_an_answer_with_usage(self) -> None:
        answer = self.client().models.generate_content(
            model=self.LITE,
            contents="What is 12 times 12?",
            config=genai_types.GenerateContentConfig(
                system_instruction="Be brief.", temperature=0.2, max_output_tokens=100, seed=7
            ),
        )
        self.assertEqual(answer.text, "12 × 12 = 144.")
        self.assertEqual(answer.candidates[0].finish_reason, genai_types.FinishReason.STOP)
        self.assertEqual(answer.model_version, self.LITE)
        usage = answer.usage_metadata
        self.assertEqual(usage.total_token_count, usage.prompt_token_count + usage.candidates_token_count)

    def test_a_picture(self) -> None:
        picture = genai_types.Part.from_bytes(data=PICTURE, mime_type="image/png")
        answer = self.client().models.generate_content(model=self.LITE, contents=[picture, "Caption this."])
        self.assertIn(PICTURE_WORDS, answer.text)
        modalities = {detail.modality.value for detail in answer.usage_metadata.prompt_tokens_details}
        self.assertEqual(modalities, {"TEXT", "IMAGE"})

    def test_json_with_a_schema(self) -> None:
        config = genai_types.GenerateContentConfig(
            response_mime_type="application/json",
            response_schema={"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
        )
        answer = self.client().models.generate_content(model=self.LITE, contents="Name a city.", config=config)
        self.assertIn("city", answer.parsed)

    def test_a_cut_answer_and_a_blocked_prompt(self) -> None:
        config = genai_types.GenerateContentConfig(max_output_tokens=2)
        cut = self.client().models.generate_content(model=self.LITE, contents="Why do cats purr?", config=config)
        self.assertEqual(cut.candidates[0].finish_reason, genai_types.FinishReason.MAX_TOKENS)
        blocked = self.client().models.generate_content(model=self.LITE, contents="[sim:blocked]")
        self.assertEqual(blocked.prompt_feedback.block_reason, genai_types.BlockedReason.PROHIBITED_CONTENT)
        self.assertIsNone(blocked.text)
        empty = self.client().models.generate_content(model=self.LITE, contents="[sim:empty]")
        self.assertIsNone(empty.text)

    def test_models_and_token_counts(self) -> None:
        names = {model.name for model in self.client().models.list()}
        self.assertEqual(names, {f"models/{self.LITE}", f"models/{self.SCARCE}"})
        self.assertEqual(self.client().models.get(model=self.LITE).output_token_limit, 8192)
        counted = self.client().models.count_tokens(model=self.LITE, contents="12345678")
        self.assertEqual(counted.total_tokens, 2)

    def test_a_full_minute(self) -> None:
        def ask() -> object:
            return self.client().models.generate_content(model=self.SCARCE, contents="hello")

        ask()
        with self.assertRaises(genai_errors.ClientError) as refused:
            ask()
        self.assertEqual((refused.exception.code, refused.exception.status), (429, "RESOURCE_EXHAUSTED"))
        kinds = [detail["@type"].rsplit(".", 1)[1] for detail in refused.exception.details["error"]["details"]]
        self.assertEqual(kinds, ["Help", "QuotaFailure", "RetryInfo"])

    def test_errors(self) -> None:
        cases = [
            ("nonsense", self.LITE, "hello", 400, "INVALID_ARGUMENT", genai_errors.ClientError),
            ("AQ.nonsense", self.LITE, "hello", 401, "UNAUTHENTICATED", genai_errors.ClientError),
            ("AIzaSim-sdk-suspended", self.LITE, "hello", 403, "PERMISSION_DENIED", genai_errors.ClientError),
            ("AIzaSim-sdk", "gemini-1.0", "hello", 404, "NOT_FOUND", genai_errors.ClientError),
            ("AIzaSim-sdk", self.LITE, "[sim:400]", 400, "INVALID_ARGUMENT", genai_errors.ClientError),
            ("AIzaSim-sdk", self.LITE, "[sim:500]", 500, "INTERNAL", genai_errors.ServerError),
            ("AIzaSim-sdk", self.LITE, "[sim:503]", 503, "UNAVAILABLE", genai_errors.ServerError),
        ]
        for key, model, prompt, code, status, kind in cases:
            with self.subTest(key=key, model=model, prompt=prompt), self.assertRaises(kind) as raised:
                self.client(key).models.generate_content(model=model, contents=prompt)
            self.assertEqual((raised.exception.code, raised.exception.status), (code, status))


class OpenAI(unittest.TestCase):
    LARGE, SCARCE = "gpt-5-mini", "gpt-5-nano"

    def client(self, key: str = "sk-sim-sdk") -> openai.OpenAI:
        return openai.OpenAI(api_key=key, base_url=f"{URL}/v1", max_retries=0)

    def ask(self, prompt: object, key: str = "sk-sim-sdk", model: str = LARGE, **params: object):
        messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": prompt}]
        return self.client(key).chat.completions.create(model=model, messages=messages, **params)

    def test_an_answer_with_usage(self) -> None:
        answer = self.ask("What is 12 times 12?", temperature=0.2, max_completion_tokens=100)
        self.assertEqual(answer.choices[0].message.content, "12 × 12 = 144.")
        self.assertEqual((answer.choices[0].finish_reason, answer.model), ("stop", self.LARGE))
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertIsNotNone(answer._request_id)

    def test_a_picture(self) -> None:
        url = f"data:image/png;base64,{PICTURE_BASE64}"
        parts = [{"type": "text", "text": "Caption."}, {"type": "image_url", "image_url": {"url": url}}]
        self.assertIn(PICTURE_WORDS, self.ask(parts).choices[0].message.content)

    def test_endings(self) -> None:
        self.assertEqual(self.ask("Why do cats purr?", max_tokens=2).choices[0].finish_reason, "length")
        blocked = self.ask("[sim:blocked]").choices[0]
        self.assertEqual(blocked.finish_reason, "content_filter")
        self.assertIsNotNone(blocked.message.refusal)
        self.assertEqual(self.ask("[sim:empty]").choices[0].message.content, "")

    def test_models(self) -> None:
        self.assertEqual({model.id for model in self.client().models.list()}, {self.LARGE, self.SCARCE})
        self.assertEqual(self.client().models.retrieve(self.LARGE).id, self.LARGE)

    def test_a_full_minute(self) -> None:
        first = self.client().chat.completions.with_raw_response.create(
            model=self.SCARCE, messages=[{"role": "user", "content": "hello"}]
        )
        self.assertEqual(first.headers["x-ratelimit-limit-requests"], "1")
        self.assertEqual(first.headers["x-ratelimit-remaining-requests"], "0")
        with self.assertRaises(openai.RateLimitError) as refused:
            self.ask("hello", model=self.SCARCE)
        self.assertEqual((refused.exception.code, refused.exception.type), ("rate_limit_exceeded", "requests"))
        self.assertTrue(0 < float(refused.exception.response.headers["retry-after"]) <= 60)

    def test_errors(self) -> None:
        cases = [
            ("sk-nonsense-nonsense", self.LARGE, "hello", {}, openai.AuthenticationError, "invalid_api_key"),
            ("sk-sim-sdk-spent", self.LARGE, "hello", {}, openai.RateLimitError, "insufficient_quota"),
            ("sk-sim-sdk", "gpt-2", "hello", {}, openai.NotFoundError, "model_not_found"),
            ("sk-sim-sdk", self.LARGE, "hello", {"stream": True}, openai.BadRequestError, "unsupported_value"),
            ("sk-sim-sdk", self.LARGE, "[sim:400]", {}, openai.BadRequestError, None),
            ("sk-sim-sdk", self.LARGE, "[sim:500]", {}, openai.InternalServerError, None),
            ("sk-sim-sdk", self.LARGE, "[sim:503]", {}, openai.InternalServerError, "server_is_overloaded"),
            ("sk-sim-sdk", self.LARGE, "[sim:html]", {}, openai.InternalServerError, None),
        ]
        for key, model, prompt, params, kind, code in cases:
            with self.subTest(model=model, prompt=prompt, code=code), self.assertRaises(kind) as raised:
                self.ask(prompt, key=key, model=model, **params)
            self.assertEqual(raised.exception.code, code)
        with self.assertRaises(openai.APIConnectionError):
            self.ask("[sim:reset]")

    def test_the_sdks_own_retries_get_through(self) -> None:
        client = openai.OpenAI(api_key="sk-sim-sdk", base_url=f"{URL}/v1", max_retries=1)
        with self.assertRaises(openai.InternalServerError):
            client.chat.completions.create(model=self.LARGE, messages=[{"role": "user", "content": "[sim:503]"}])


class Anthropic(unittest.TestCase):
    LARGE, SCARCE = "claude-haiku-4-5", "claude-sonnet-5-5"

    def client(self, key: str = "sk-ant-sim-sdk") -> anthropic.Anthropic:
        return anthropic.Anthropic(api_key=key, base_url=URL, max_retries=0)

    def ask(self, prompt: object, key: str = "sk-ant-sim-sdk", model: str = LARGE, max_tokens: int = 100, **params):
        messages = [{"role": "user", "content": prompt}]
        return self.client(key).messages.create(
            model=model, max_tokens=max_tokens, system="Be brief.", messages=messages, **params
        )

    def test_an_answer_with_usage(self) -> None:
        answer = self.ask("What is 12 times 12?")
        self.assertEqual(answer.content[0].text, "12 × 12 = 144.")
        self.assertEqual((answer.stop_reason, answer.model), ("end_turn", self.LARGE))
        self.assertTrue(answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0)
        self.assertIsNotNone(answer._request_id)

    def test_a_picture(self) -> None:
        source = {"type": "base64", "media_type": "image/png", "data": PICTURE_BASE64}
        parts = [{"type": "image", "source": source}, {"type": "text", "text": "Caption."}]
        self.assertIn(PICTURE_WORDS, self.ask(parts).content[0].text)

    def test_endings(self) -> None:
        self.assertEqual(self.ask("Why do cats purr?", max_tokens=2).stop_reason, "max_tokens")
        stopped = self.ask("What is 2 + 2?", stop_sequences=[" ="])
        self.assertEqual((stopped.stop_reason, stopped.stop_sequence), ("stop_sequence", " ="))
        self.assertEqual(self.ask("[sim:blocked]").stop_reason, "refusal")
        self.assertEqual(self.ask("[sim:empty]").content, [])

    def test_models(self) -> None:
        self.assertEqual({model.id for model in self.client().models.list()}, {self.LARGE, self.SCARCE})

    def test_a_full_minute(self) -> None:
        first = self.client().messages.with_raw_response.create(
            model=self.SCARCE, max_tokens=50, messages=[{"role": "user", "content": "hello"}]
        )
        self.assertEqual(first.headers["anthropic-ratelimit-requests-remaining"], "0")
        self.assertEqual(first.headers["anthropic-ratelimit-input-tokens-limit"], "10000")
        with self.assertRaises(anthropic.RateLimitError) as refused:
            self.ask("hello", model=self.SCARCE)
        self.assertEqual(refused.exception.body["error"]["type"], "rate_limit_error")
        self.assertTrue(0 < float(refused.exception.response.headers["retry-after"]) <= 60)

    def test_errors(self) -> None:
        cases = [
            ("sk-ant-nonsense", self.LARGE, "hello", 100, anthropic.AuthenticationError, "authentication_error"),
            ("sk-ant-sim-sdk-suspended", self.LARGE, "hello", 100, anthropic.PermissionDeniedError, "permission_error"),
            ("sk-ant-sim-sdk", "claude-1", "hello", 100, anthropic.NotFoundError, "not_found_error"),
            ("sk-ant-sim-sdk", self.LARGE, "hello", 9_999, anthropic.BadRequestError, "invalid_request_error"),
            ("sk-ant-sim-sdk", self.LARGE, "[sim:400]", 100, anthropic.BadRequestError, "invalid_request_error"),
            ("sk-ant-sim-sdk", self.LARGE, "[sim:500]", 100, anthropic.InternalServerError, "api_error"),
            ("sk-ant-sim-sdk", self.LARGE, "[sim:503]", 100, anthropic.APIStatusError, "overloaded_error"),
        ]
        for key, model, prompt, most, error, kind in cases:
            with self.subTest(model=model, prompt=prompt, kind=kind), self.assertRaises(error) as raised:
                self.ask(prompt, key=key, model=model, max_tokens=most)
            self.assertEqual(raised.exception.body["error"]["type"], kind)
            self.assertEqual(raised.exception.body["request_id"], raised.exception.request_id)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
