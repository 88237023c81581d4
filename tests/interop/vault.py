"""Starts `alter-server dev` and talks to it as a person would: JSON line, mint URL, control URL, CLI."""

import json
import logging
import os
import pathlib
import select
import subprocess
import tempfile
import unittest
import urllib.request

import alter_sdk

# The package warns of plain http and asyncio of slow handshakes; neither is news here.
logging.disable(logging.WARNING)

BIN = pathlib.Path(os.environ["ALTER_BIN_DIR"])
SERVER = BIN / "alter-server"
PROBE = BIN / "examples" / "wire-probe"
READY_SECONDS = 60


class DevVault:
    """A vault and its sandbox, alive between `with` and its end."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="alter-interop-")
        self.data_dir = pathlib.Path(self._folder.name) / "data"
        command = [SERVER, "dev", "--json", "--data-dir", self.data_dir, "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        ready, _, _ = select.select([self.process.stdout], [], [], READY_SECONDS)
        if not ready:
            self.process.kill()
            raise RuntimeError(f"alter-server dev printed nothing within {READY_SECONDS} s")
        self.info = json.loads(self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.process.stdout.close()
        self._folder.cleanup()

    def user(self, sub):
        return next(user for user in self.info["users"] if user["sub"] == sub)

    def mint(self, sub, ttl=300):
        url = f"{self.info['idp']['mint_url']}?sub={sub}&ttl={ttl}"
        return _get(url)["token"]

    def counts(self):
        return _get(self.info["provider"]["control_url"])

    def disconnect(self, **account):
        """Somebody takes the access back at the provider."""
        url = self.info["provider"]["control_url"] + "/disconnect"
        body = json.dumps(account).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=10) as answer:
            answer.read()

    def url(self, path):
        return self.info["provider"]["api_url"] + path

    def audit(self):
        """The audit rows of the app, as the operator's command prints them."""
        return self.cli("audit", "list", "--app", self.info["app"]["id"], "--limit", "1000")

    def cli(self, *arguments):
        command = [SERVER, *arguments, "--json", "--data-dir", self.data_dir]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


class AgainstVault(unittest.IsolatedAsyncioTestCase):
    """A class has a vault of its own, so that what one revokes another does not miss."""

    @classmethod
    def setUpClass(cls):
        cls.vault = cls.enterClassContext(DevVault())
        os.environ["ALTER_BASE_URL"] = cls.vault.info["base_url"]

    def app(self, **options):
        return alter_sdk.App(self.vault.info["app"]["key"], **options)


def _get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
