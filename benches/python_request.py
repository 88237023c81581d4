"""Calls per second of the published Python package, for `alter-benches request`.

Reads lines `CONCURRENCY SECONDS` and answers each with a line of JSON: calls, seconds, latencies in microseconds,
processor seconds. Everything else it needs is in the environment.
"""

import asyncio
import json
import os
import sys
import time

import alter_sdk


async def measure(app, url, provider, concurrency, seconds):
    begin, latencies = time.perf_counter(), []

    async def caller():
        while time.perf_counter() - begin < seconds:
            sent = time.perf_counter()
            answer = await app.request("GET", url, provider=provider)
            if answer.status_code != 200 or not answer.json():
                raise RuntimeError(f"answered {answer.status_code}")
            latencies.append(int((time.perf_counter() - sent) * 1e6))

    used = time.process_time()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return {
        "seconds": time.perf_counter() - begin,
        "latencies": latencies,
        "cpu_seconds": time.process_time() - used,
    }


async def main():
    url, provider, token = (os.environ[name] for name in ("BENCH_URL", "BENCH_PROVIDER", "BENCH_TOKEN"))
    print(json.dumps({"package": alter_sdk.__name__, "python": sys.version.split()[0]}), flush=True)
    for line in sys.stdin:
        concurrency, seconds = line.split()
        async with alter_sdk.App(os.environ["BENCH_KEY"], user_token_getter=lambda: token) as app:
            result = await measure(app, url, provider, int(concurrency), float(seconds))
        print(json.dumps(result), flush=True)


asyncio.run(main())
