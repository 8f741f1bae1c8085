"""Two ways to send many prompts from Python, for `benches/against-nginx peers`.

usage: peers.py aiohttp|lm-deluge PORT ITEMS

`aiohttp` is a loop of 64 tasks that records nothing; `lm-deluge` is the package of that name, 64 requests at a time.
Prints requests per second and CPU seconds per 1,000 requests, the start of Python and its imports left out.
"""

import asyncio
import os
import sys
import time

name, port, items = sys.argv[1], sys.argv[2], int(sys.argv[3])
base = f"http://127.0.0.1:{port}/v1"
prompts = [f"What is {n} plus {7 * n}?" for n in range(items)]


async def with_aiohttp():
    import aiohttp

    answers, waiting = [], iter(prompts)

    async def work(session):
        for prompt in waiting:
            body = {"model": "fixed", "messages": [{"role": "user", "content": prompt}]}
            async with session.post(f"{base}/chat/completions", json=body) as response:
                answers.append((await response.json())["choices"][0]["message"]["content"])

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
        await asyncio.gather(*[work(session) for _ in range(64)])
    return answers


def with_lm_deluge():
    import lm_deluge
    from lm_deluge.models import register_model

    os.environ["BENCH_KEY"] = "bench-key-one"
    register_model(id="fixed", name="fixed", api_base=base, api_key_env_var="BENCH_KEY", api_spec="openai")
    client = lm_deluge.LLMClient(
        "fixed", max_requests_per_minute=10**9, max_tokens_per_minute=10**12, max_concurrent_requests=64)
    return client.process_prompts_sync(prompts, return_completions_only=True, show_progress=False)


if name == "aiohttp":
    import aiohttp  # noqa: F401
else:
    import lm_deluge  # noqa: F401
started, cpu = time.perf_counter(), time.process_time()
answers = asyncio.run(with_aiohttp()) if name == "aiohttp" else with_lm_deluge()
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
assert answers == ["Forty-two."] * items, answers[:3]
print(f"{name}: {items / seconds:,.0f} requests/s; CPU {1e3 * cpu / items:.4f} s per 1,000 requests")
