"""500 generated requests, signed by the Python package and by the Rust client: the bytes must be equal."""

import asyncio
import http.server
import json
import os
import random
import string
import subprocess
import threading
import unittest

import alter_sdk

from vault import PROBE

KEY = "alter_rk_abcdefghijklmnopqrstuv_iwpykn"
REQUESTS = 500
SIGNED = (
    "x-alter-timestamp",
    "x-alter-nonce",
    "x-alter-content-sha256",
    "x-alter-signature",
    "x-alter-signature-v2",
    "x-alter-caller",
    "x-alter-caller-type",
    "x-alter-context",
)
AWKWARD = string.ascii_letters + string.digits + " /%+&=?#é€😀\u007f\t\"\\'-_.~:;,()[]"


class Recorder(http.server.BaseHTTPRequestHandler):
    """A vault that knows nobody: keeps what arrived and answers 404, so that no provider is called."""

    seen = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: self.headers[name] for name in SIGNED if name in self.headers}
        self.seen.append({"target": self.path, "body": body.hex(), "headers": headers})
        answer = b'{"error":"grant_not_found","message":"recorded"}'
        self.send_response(404)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def generated(choose):
    """The arguments of one request, as both clients take them."""
    text = lambda low, high: "".join(choose.choices(AWKWARD, k=choose.randint(low, high)))  # noqa: E731
    plain = lambda: "".join(choose.choices(string.ascii_letters, k=8))  # noqa: E731
    arguments = {"method": choose.choice(["GET", "POST", "put", "DELETE", "PATCH"])}
    arguments["url"] = "https://api.example.com/" + "/".join(plain() for _ in range(choose.randint(1, 3)))
    if choose.random() < 0.5:
        arguments["url"] += f"?{plain()}={plain()}"
    if choose.random() < 0.5:
        arguments["grant_id"] = f"{choose.getrandbits(128):032x}"
        g = arguments["grant_id"]
        arguments["grant_id"] = f"{g[:8]}-{g[8:12]}-{g[12:16]}-{g[16:20]}-{g[20:]}"
    else:
        arguments["provider"] = plain().lower()
        if choose.random() < 0.4:
            arguments["account"] = text(1, 12)
        if choose.random() < 0.4:
            arguments["label"] = text(1, 12)
        if choose.random() < 0.3:
            arguments["app_user_id"] = plain()
    if "provider" in arguments or choose.random() < 0.5:
        arguments["user_token"] = ".".join(plain() for _ in range(3))
    if choose.random() < 0.6:
        arguments["reason"] = text(0, 20)
    if choose.random() < 0.5:
        # By name, as our client writes them: the order has no meaning, but it is signed.
        names = sorted(plain() for _ in range(choose.randint(1, 3)))
        arguments["context"] = {name: text(0, 10) for name in names}
    if choose.random() < 0.3:
        arguments["caller"] = plain()
    return arguments


class SignedBytes(unittest.TestCase):
    def test_both_clients_sign_the_same_bytes(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        os.environ["ALTER_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"

        choose = random.Random(20261121)
        requests = [generated(choose) for _ in range(REQUESTS)]
        for at, one in enumerate(requests):
            one["constructor_caller"] = "constructor-caller" if at >= REQUESTS // 2 else None
        asyncio.run(self.send(requests))
        self.assertEqual(len(Recorder.seen), REQUESTS)

        lines = [json.dumps({"key": KEY, "arguments": one, "recorded": seen})
                 for one, seen in zip(requests, Recorder.seen)]
        probe = subprocess.run([PROBE], input="\n".join(lines), capture_output=True, text=True, timeout=120)
        self.assertEqual(probe.returncode, 0, probe.stderr[-2000:])
        self.assertEqual(probe.stdout.strip(), f"{REQUESTS} equal")

    async def send(self, requests):
        for caller in (None, "constructor-caller"):
            async with alter_sdk.App(KEY, caller=caller) as app:
                for one in requests:
                    if one["constructor_caller"] != caller:
                        continue
                    arguments = {name: value for name, value in one.items() if name != "constructor_caller"}
                    with self.assertRaises(alter_sdk.AlterSDKError):
                        await app.request(arguments.pop("method"), arguments.pop("url"), **arguments)


if __name__ == "__main__":
    unittest.main()
