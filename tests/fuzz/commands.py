"""The command line as a target: verbs and options misused, taken from the program itself."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from tests.fuzz import mutations
from tests.fuzz.case import Case, Refused, Target, Wrong
from tests.fuzz.dicom import dicom_file
from tests.fuzz.models import (
    CheckpointTarget,
    config_values,
    prepare_rates,
    saved,
    tiny_model,
)
from tests.fuzz.nifti import NiftiGzipTarget, NiftiTarget
from tests.fuzz.settings import _yaml, comparison_values, dataset_files

_COMMANDS = (
    "predict scan.nii out.nii.gz --model tiny.safetensors",
    "predict scans outdir -m tiny.safetensors --spacing 2 --json",
    "predict dicom out.nrrd -m tiny.safetensors --largest-component",
    "estimate scan.nii --model tiny.safetensors --spacing 2 --outside clamp",
    "info tiny.safetensors --json",
    "check tiny",
    "export run out.safetensors --dtype float16 --tile-voxels 32",
    "diagnostics",
    "synthesize maps pairs -n 1 --size 10 --spacing 3 --contrast t1",
    "fit run.yaml --out new --set training.steps=1",
    "evaluate tiny.safetensors tiny --spacings 2 --out ev",
    "cka tiny.safetensors tiny --start 2 --stop 3 --steps 2 --box 8 --margin 2 --out ck",
    "import-checkpoint in.pt out.safetensors",
)
_NAMES = (
    *("scan.nii", "scans/a.nii.gz", "scans", "dicom", "tiny.safetensors", "tiny", "maps", "mixed"),
    *("run", "run.yaml", "comparison.yaml", "split.json", "in.pt", "notes.txt", "empty", "bad.nii"),
    *("run/checkpoints/best.safetensors", "tiny/dataset.json", "tiny/imagesTr", "missing", "."),
    *("..", "/dev/null", "/", "notes.txt/x", "missing/x.nii", "hippocampus", "none.nii.gz"),
    *("out.nii", "out.nii.gz", "out.mha", "out.nrrd", "out.safetensors", "outdir", "out.csv"),
    *("out.md", "-", "--", "x" * 300, "é.nii", "a b.nii", "tiny.safetensors=tiny.safetensors"),
)
_NUMBERS = (
    "-1",
    "0",
    "1",
    "2",
    "3.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-9",
    "1e9",
    "x",
    "1_0",
    "²",
)
_SPACINGS = (
    "2",
    "1,1,3",
    "2,2",
    "1,2,3,4",
    "0",
    "-1",
    "nan",
    "1e-9",
    "1e9",
    "x",
    ",",
    "1;2",
    "2 3",
)
_TEXTS = ("t1", "x", "validation", "training", "fp32", "auto", "cpu", "cuda:9", "meta", "clamp")
# Values that name how much to do, or how many processes: large ones are no misuse.
_FEW = ("-1", "0", "1", "x", "1.5", "")
_OVERRIDES = ("training.steps=1", "seed=7", "x", "=", "a=b", "training.steps=x", "network.x.y=1")
_COUNTS = ("number", "devices", "processes", "steps", "batch", "monte_carlo")
_OUTPUTS = ("target", "out", "report", "rows")
_WRITERS = ("estimate", "info", "check", "export", "import-checkpoint", "diagnostics")


class CommandTarget(Target):
    """Commands with wrong, missing, doubled and hostile arguments."""

    name = "command-line"
    share = 5.0
    memory_bytes: ClassVar[int | None] = 3 << 30  # trainings, whose libraries are imported then
    may_write: ClassVar[tuple[str, ...]] = ("*",)

    def prepare(self) -> None:
        """Make files of all kinds, and ask the program for its verbs and options."""
        import typer

        from napari_hyperspace.nets.model_file import save_model
        from tests.training.heads import head_array, volume
        from training.cli import app

        prepare_rates()
        self.app = app
        self.verbs = {
            name: [
                (
                    each.name,
                    [spelling for spelling in each.opts if spelling.startswith("-")],
                    bool(getattr(each, "is_flag", False)),
                )
                for each in command.params
            ]
            for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
        }
        nifti, packed, checkpoint = NiftiTarget(), NiftiGzipTarget(), CheckpointTarget()
        checkpoint.prepare()
        from napari_hyperspace.io import write
        from tests.fuzz.models import ImportTarget

        imported = ImportTarget()
        imported.prepare()
        scan = nifti.make()[0]["scan.nii"]
        head = saved(lambda path: write(volume(head_array((19, 15, 17))), path), "head.nii.gz")
        split = {"training": ["case_0"], "validation": ["case_1"]}
        self.files = {
            "scan.nii": scan,
            "bad.nii": scan[:200],
            "scans/a.nii.gz": packed.make()[0]["scan.nii.gz"],
            "mixed/b.nii": scan[:400],
            "mixed/c.nii": scan,
            **{f"dicom/{k}.dcm": dicom_file(k) for k in range(3)},
            "tiny.safetensors": saved(lambda path: save_model(tiny_model(), path), "a.safetensors"),
            "run.yaml": _yaml(config_values()),
            "comparison.yaml": _yaml(comparison_values()),
            "split.json": mutations.encoded(json.dumps(split)),
            "run/checkpoints/best.safetensors": checkpoint.data,
            "in.pt": imported.samples[0],
            "maps/head_0.nii.gz": head,
            "notes.txt": b"a note\n",
            "empty": b"",
            **dataset_files(),
        }
        self.n_sound = len(_COMMANDS)

    def sound(self, index: int) -> Case:
        """Return a command that does its job."""
        return Case(dict(self.files), options={"argv": _COMMANDS[index].split()})

    def mutated(self, random: Random) -> Case:
        """Return a command whose arguments are changed."""
        if random.random() < 0.1:
            verb = random.choice(sorted(self.verbs))
            argv = [verb, *(random.choice(_NAMES) for _ in range(random.randrange(4)))]
        else:
            # The last commands take seconds, and their misuse is refused by the same code.
            argv = random.choice((*_COMMANDS[:9], *_COMMANDS)).split()
        for _ in mutations.changes(random):
            self._change(random, argv)
        return Case(dict(self.files), options={"argv": argv})

    def _change(self, random: Random, argv: list[str]) -> None:
        at = random.randrange(len(argv)) if argv else 0
        kind = random.randrange(10)
        if kind == 0 and argv:
            del argv[at]
        elif kind == 1 and argv:
            argv.insert(at, argv[at])
        elif kind == 2 and argv:
            argv[at] = mutations.mutate_bytes(random, argv[at].encode()).decode(errors="replace")
            argv[at] = argv[at].replace("\0", "?") if random.random() < 0.5 else argv[at]
        elif kind == 3 and argv:
            other = random.randrange(len(argv))
            argv[at], argv[other] = argv[other], argv[at]
        elif kind <= 5 and len(argv) > 1:
            at = 1 + random.randrange(len(argv) - 1)
            before = argv[at - 1].lstrip("-").replace("-", "_")
            if not argv[at].startswith("-") and before not in _COUNTS and argv[at - 1] != "-n":
                pools = (_NAMES, _NAMES, _SPACINGS, _TEXTS, mutations.WORDS)
                argv[at] = random.choice(random.choice(pools)).replace("\ud800", "?")
        elif argv and argv[0] in self.verbs:
            options = [each for each in self.verbs[argv[0]] if each[1]]
            if options:
                name, spellings, flag = random.choice(options)
                spelling = random.choice(spellings)
                value = self._value(random, name)
                if flag:
                    argv.append(spelling)
                elif spelling.startswith("--") and random.random() < 0.3:
                    argv.append(f"{spelling}={value}")
                else:
                    argv += [spelling, value]
        else:
            argv.append(random.choice(("--nonsense", "--help", "-x", "--json", "", "--version")))

    def _value(self, random: Random, name: str) -> str:
        """Return a value for an option: often of the right kind."""
        if name == "set_":
            return random.choice(_OVERRIDES)
        if name in _COUNTS:
            return random.choice(_FEW)
        kind = random.randrange(4)
        if kind == 0 or name in (*_OUTPUTS, "split", "init", "against", "model", "again"):
            return random.choice(_NAMES)
        if kind == 1 or "spacing" in name or name in ("at", "start", "stop", "reference"):
            return random.choice(_SPACINGS)
        return random.choice(_NUMBERS if kind == 2 else _TEXTS)

    def changed(self, case: Case) -> set[str]:
        """Return the inputs that a command may write: named by it, and not its source."""
        argv = [part.partition("=")[2] or part for part in case.options["argv"]]
        words = [word for word in argv[1:] if not word.startswith("-")]
        source = words[0] if words and "--write-card" not in case.options["argv"] else ""
        return {
            name
            for name in case.files
            for word in words
            if name != source and (name == word or name.startswith(f"{word}/") or word == ".")
        }

    def run(self, folder: Path, case: Case) -> None:
        """Run the command in this process."""
        argv = case.options["argv"]
        out, err = io.StringIO(), io.StringIO()
        status: Any = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                self.app(list(argv), prog_name="hyperspace")
            except SystemExit as end:
                status = end.code or 0
        said = err.getvalue() if status else ""
        if status not in (0, 1, 2):
            raise Wrong(f"exit status {status}: {said}")
        if "Traceback" in err.getvalue():
            raise Wrong(f"a traceback: {err.getvalue()[-300:]}")
        if not status:
            if not out.getvalue().strip():
                raise Wrong("exit status 0, and nothing printed")
            return
        if not said.strip() and not out.getvalue().strip():
            raise Wrong(f"exit status {status} without a message")
        new = [
            path
            for path in folder.rglob("*")
            if path.is_file() and path.relative_to(folder).as_posix() not in case.files
        ]
        if new and argv and argv[0] in _WRITERS:
            raise Wrong(f"exit status {status}, and a file is left: {new[0].name}")
        raise Refused(said or "exit status 1, with a report")


TARGET_TYPES: tuple[type[Target], ...] = (CommandTarget,)
