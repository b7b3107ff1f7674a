"""What we ask of the Dockerfile, read as its instructions; what its build installs is taken from it, not repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.cluster_rules import image_faults

_SECRET = re.compile(r"(KEY|TOKEN|PASSWORD|SECRET)S?\b", re.IGNORECASE)
_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with its continuation lines joined."""

    name: str
    text: str


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in joined]


def stages(text: str) -> list[list[Instruction]]:
    """Return the instructions by stage, the FROM first; what stands before the first FROM is left out."""
    found: list[list[Instruction]] = []
    for instruction in instructions(text):
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def dockerfile_faults(text: str, root: Path) -> list[str]:
    """Return what is wrong with a Dockerfile that is built in `root`."""
    built = stages(text)
    return [*_bases(text), *_end_stage(built[-1]), *_installs(text), *_copies(built, root), *_openly(text)]


def _bases(text: str) -> Iterator[str]:
    defaults = dict(each.text.split("=", 1) for each in instructions(text) if each.name == "ARG" and "=" in each.text)
    for stage in stages(text):
        image = stage[0].text.split()[0]
        yield from image_faults(re.sub(r"\$\{(\w+)\}", lambda found: defaults.get(found[1], ""), image))
    if len(stages(text)) < 2:
        yield "the tools that build it are part of the image"


def _end_stage(stage: list[Instruction]) -> Iterator[str]:
    last = {each.name: each.text for each in stage}
    user = last.get("USER", "root").split(":")[0]
    if not user.isdecimal() or user == "0":
        yield "it runs as root, or as a name that no cluster can check"
    if not _is_json_list(last.get("ENTRYPOINT", "")):
        yield "its entry point goes through a shell, which keeps SIGTERM to itself"
    for each in stage:
        if each.name == "RUN" and re.search(r"\b(pip|apt-get|apk|gcc|make)\b", each.text):
            yield "the last stage installs something"
    if "PYTHONDONTWRITEBYTECODE=1" not in last.get("ENV", ""):
        yield "Python would write beside its modules"


def _installs(text: str) -> Iterator[str]:
    for each in instructions(text):
        for command in re.split(r"&&|;", each.text) if each.name == "RUN" else ():
            if (
                " install " in command
                and "pip" in command
                and not {"--require-hashes", "--no-index"} & set(command.split())
            ):
                yield f"nothing checks what is installed by: {command.strip()}"


def _copies(built: list[list[Instruction]], root: Path) -> Iterator[str]:
    ignored = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line.removeprefix("!").rstrip("/") for line in ignored if line.startswith("!")}
    if "*" not in ignored:
        yield ".dockerignore lets in what is not named"
    for each in (each for stage in built for each in stage):
        if each.name == "ADD":
            yield "ADD fetches and unpacks: use COPY"
        if each.name != "COPY" or each.text.startswith("--from="):
            continue
        for source in each.text.split()[:-1]:
            if not (root / source).exists():
                yield f"{source} is copied and does not exist"
            if source.rstrip("/") not in let_in:
                yield f"{source} is copied and .dockerignore keeps it out"


def _openly(text: str) -> Iterator[str]:
    for each in instructions(text):
        if each.name in ("ARG", "ENV") and _SECRET.search(each.text):
            yield "a secret would stay in the image's history"


def _is_json_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


# -- what it installs


def sed_programs(text: str) -> dict[str, str]:
    """Return the sed programs of the build by the file they write: they choose from the hashed requirements."""
    found = re.findall(r"sed (?:-n )?-E '([^']+)' requirements/\w+\.txt > (\w+\.txt)", text)
    return {file: program for program, file in found}


def pins(text: str) -> dict[str, list[str]]:
    """Return the pinned packages of a requirement file, each with its hashes."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if starts := _NAME.match(line):
            name = starts[1].lower()
            found[name] = []
        found[name] += re.findall(r"--hash=sha256:([0-9a-f]{64})", line) if name else []
    return found
