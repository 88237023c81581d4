"""A person with a browser: Debian's Chromium, driven through the real pages by tests/browser/drive.mjs."""

import pathlib
import subprocess
import webbrowser

DRIVE = pathlib.Path(__file__).resolve().parent.parent / "browser" / "drive.mjs"
SECONDS = 60


class Person(webbrowser.BaseBrowser):
    """`webbrowser.open(url)` hands the page to this person, in a fresh browser, and returns at once, as a real one does."""

    def __init__(self, user, account=None, denies=False):
        super().__init__("person")
        self.words = [user, account or user]
        self.flags = ["--deny"] if denies else []
        self.opened = []

    def open(self, url, new=0, autoraise=True):
        command = ["node", DRIVE, *self.flags, url, *self.words]
        self.opened.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return True

    def ended(self):
        """The heading of the last page that was opened."""
        process = self.opened[-1]
        try:
            said, wrong = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            said, wrong = process.communicate()
        assert process.returncode == 0, f"the person got stuck: {said}{wrong}"
        return said.strip()

    def __enter__(self):
        webbrowser.register(self.name, None, self, preferred=True)
        return self

    def __exit__(self, *_):
        # The registry has no way back; whoever comes next is preferred to this one.
        for process in self.opened:
            if process.poll() is None:
                process.kill()
            process.communicate()
