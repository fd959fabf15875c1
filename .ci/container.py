#!/usr/bin/env python3
"""Carry out the Dockerfile in a folder, where no container engine runs, and harvest with it.

Each instruction does what it would do in an image, below a temporary folder in place of `/`
and with a virtual environment in place of the base image's Python; RUN and ENTRYPOINT see the
paths below that folder. As root the spider runs as the user that USER names.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DAYS = ("2026-03-01", "2026-03-10")


class Image:
    """What the instructions make."""

    def __init__(self, root: Path):
        self.root = root
        self.folder = root
        self.user: list[str] = []
        self.entry: list[str] = []
        python = root / "python"
        venv.create(python, with_pip=True)
        self.environment = {"PATH": f"{python}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        # Where pip finds packages is the machine's affair.
        self.environment |= {k: v for k, v in os.environ.items() if k.startswith("PIP_")}

    def do(self, instruction: str, rest: str) -> None:
        """Carry out one instruction."""
        if instruction == "FROM":
            version = f"python:{sys.version_info.major}.{sys.version_info.minor}."
            assert rest.startswith(version), f"this is another Python than {rest}"
        elif instruction == "WORKDIR":
            self.folder = self.inside(rest)
            self.folder.mkdir()
        elif instruction == "COPY":
            source, target = rest.split()
            there = self.folder / target
            if (REPOSITORY / source).is_dir():
                shutil.copytree(REPOSITORY / source, there)
            else:
                shutil.copy(REPOSITORY / source, there)
        elif instruction == "RUN":
            if os.geteuid() != 0:
                rest = rest.replace("chown 1000:1000", "test -d")
            self.run(["bash", "-euc", rest])
        elif instruction == "ENV":
            for name, value in (pair.split("=", 1) for pair in shlex.split(rest)):
                self.environment[name] = str(self.inside(value)) if value[0] == "/" else value
        elif instruction == "USER":
            user, group = rest.split(":")
            if os.geteuid() == 0:
                self.user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        elif instruction == "ENTRYPOINT":
            self.entry = json.loads(rest)
        else:
            raise SystemExit(f"the script does not know {instruction}")

    def inside(self, path: str) -> Path:
        """An absolute path of the image, here."""
        return self.root / path.lstrip("/")

    def run(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        """Run a command of the image to its end, as its user."""
        return subprocess.run(self.user + command, check=True, **self.how(), **options)

    def how(self) -> dict[str, object]:
        """How a process of the image is started."""
        return {"cwd": self.folder, "env": self.environment, "text": True}


def harvest(image: Image) -> None:
    """Run the image as its users do: a spider against a replica."""
    days = ["--from", DAYS[0], "--to", DAYS[1]]
    sandbox = subprocess.Popen(
        [*image.user, *image.entry, "sandbox", "--dume-port", "0", "--records", "40", *days],
        stdout=subprocess.PIPE,
        **image.how(),
    )
    try:
        url = json.loads(sandbox.stdout.readline().removeprefix("READY "))["dume"]
        image.run(
            [*image.entry, "crawl", "dume", "-s", f"DUME_API_URL={url}", "-s", "DOWNLOAD_DELAY=0"]
            + ["-a", f"date_start={DAYS[0]}", "-a", f"date_end={DAYS[1]}"]
        )
    finally:
        sandbox.terminate()
        sandbox.wait()
        sandbox.stdout.close()
    files = list((image.folder / "data" / "decp").glob("DECP-*.json"))
    assert files, "no files were written"
    if image.user:
        assert {path.stat().st_uid for path in files} == {1000}
    written = {path.relative_to(image.folder).parts[0] for path in image.folder.rglob("*.sqlite")}
    assert written == {"data"}, written


def main() -> None:
    """Make the image and use it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        image = Image(Path(folder))
        text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
        for line in text.splitlines():
            if line and not line.startswith("#"):
                print(f"+ {line}", flush=True)
                image.do(*line.split(" ", 1))
        image.run([*image.entry, "list"])
        harvest(image)
    print("the Dockerfile's instructions work")


if __name__ == "__main__":
    main()
