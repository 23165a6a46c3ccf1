"""What the chat widget weighs, step by step of a visit: read from the list that its build writes. `bench.widget` shows it."""

from pathlib import Path

import msgspec

from bench.figure import Figure, at_most

GROUP = "widget"
BUILT = Path(__file__).parents[1] / "src" / "chatwright" / "widget"
_KIB = 1_024
_CODE = 2  # letters of a language's chunk: de, fr …
# Goals, in KiB after gzip: those that tests/layout/test_widget_files.py holds each build to.
_SIZES = {"launcher": 8, "opened chat without 3D": 40, "3D": 175, "GLB loader": 18, "VRM": 35}
_FIRST_ANSWER = {"English": 40, "heaviest language": 42}


class Chunk(msgspec.Struct, frozen=True):
    """A script of the build: what it brings in at once, and later."""

    name: str
    imports: list[str]
    later: list[str]


class File(msgspec.Struct, frozen=True):
    bytes: int
    gzip: int
    brotli: int


class Build(msgspec.Struct, frozen=True):
    """The widget's `files.json`."""

    chat: str
    chunks: dict[str, Chunk]
    files: dict[str, File]

    def closure(self, file: str) -> set[str]:
        """`file` and what it cannot run without."""
        found = {file}
        waiting = [file]
        while waiting:
            for other in self.chunks[waiting.pop()].imports:
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return found

    def named(self, name: str) -> str | None:
        return next((file for file, chunk in self.chunks.items() if chunk.name == name), None)


def read_build(folder: Path) -> Build:
    """Raises FileNotFoundError, msgspec.ValidationError."""
    return msgspec.json.decode((folder / "files.json").read_bytes(), type=Build)


def sizes(build: Build) -> list[Figure]:
    """What each step of a visit loads that the steps before it did not."""
    had: set[str] = set()
    chat = build.closure(build.chat)
    steps: list[tuple[str, set[str]]] = [("launcher", {"widget.js"}), ("opened chat without 3D", chat)]
    for name, chunk in (("3D", "stage"), ("GLB loader", "model"), ("VRM", "vrm")):
        if file := build.named(chunk):
            steps.append((name, build.closure(file)))
    figures: list[Figure] = []
    for name, files in steps:
        new = sorted(files - had)
        had |= files
        weights = [build.files[file] for file in new]
        figures.append(
            Figure(
                group=GROUP,
                name=f"{name}, gzip",
                unit="KiB",
                value=sum(weight.gzip for weight in weights) / _KIB,
                goal=at_most(_SIZES[name]),
                samples=len(new),
                detail={"brotli_kib": sum(weight.brotli for weight in weights) / _KIB, "files": new},
            )
        )
    return figures + _first_answer(build, chat)


def _first_answer(build: Build, chat: set[str]) -> list[Figure]:
    """The opened chat with what draws an answer: in English, whose words it holds, and with the words of the heaviest language."""
    drawing = chat.union(*(build.closure(file) for file in [build.named("markdown")] if file))
    languages = {chunk.name: build.closure(file) for file, chunk in build.chunks.items() if len(chunk.name) == _CODE}
    weights = {name: sum(build.files[file].gzip for file in drawing | files) for name, files in languages.items()}
    heaviest = max(weights, key=lambda name: weights[name], default="en")
    english = sum(build.files[file].gzip for file in drawing)
    return [
        Figure(
            group=GROUP,
            name=f"chat with its first answer, {name}, gzip",
            unit="KiB",
            value=weight / _KIB,
            goal=at_most(_FIRST_ANSWER[name]),
            samples=1,
            detail={"language": language},
        )
        for name, language, weight in (
            ("English", "en", english),
            ("heaviest language", heaviest, weights.get(heaviest, english)),
        )
    ]
