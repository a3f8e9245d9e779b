"""The command line: each stage is a subcommand, and its signature gives the options.

A stage is a function in ``weatherpeft.stages`` that has the name of its module. Each parameter becomes
an option. A ``Spec`` takes JSON or ``@file``, a ``Path`` takes one path, and ``list[Path]`` takes
several, or ``@file`` with one in each line. Numbers, text, choices and switches become options of that
type. A parameter is optional if it has a default or may be None. The docstring becomes the help.
"""

import argparse
import errno
import importlib
import inspect
import json
import logging
import os
import pkgutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from weatherpeft import __version__
from weatherpeft.artifacts.store import AlreadyMadeError
from weatherpeft.config_errors import RefusedError, error_lines
from weatherpeft.docstrings import arguments as documented
from weatherpeft.docstrings import example, summary
from weatherpeft.options import Prepare, Stage, add_option, binder, parameters

_log = logging.getLogger(__name__)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES)
"""What a file system may refuse at any time, and libraries pass on as text."""
_SPECS = "# snakemake -n -p --configfile CONFIG prints such commands with their specs"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

PIPELINE = (
    "download",
    "regrid",
    "moments",
    "statistics",
    "series",
    "climatology",
    "pack",
    "standardization",
    "efi",
    "weights",
    "pretrain",
    "fisher",
    "finetune",
    "choose",
    "predict",
    "baseline",
    "evaluate",
    "report",
)
"""The stages in the order in which a workflow runs them, which is the order of the help."""
AFTERWARDS = ("export", "apply", "merge", "push")
"""Stages that users call themselves, with what a workflow has made."""


def main(arguments: Sequence[str] | None = None, stages: str = "weatherpeft.stages") -> int:
    """Run one subcommand.

    Args:
        arguments: the command line without the program's name; by default that of this process.
        stages: package whose modules are the stages.

    Returns:
        The exit status: 0 on success, or if another job has made the artifact meanwhile, 1 if the stage
        refuses its data or a training diverges, 2 if the command line or a spec is wrong, 130 if the user
        interrupts it. An interrupted training ends the process with 75. Any other exception of a stage is a
        bug and ends the process with its traceback.
    """
    if "_ARGCOMPLETE" in os.environ:
        _complete(stages)
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _set_up_logging()
        options = _parser(arguments, stages).parse_args(arguments)
        run = options.prepare(options)
    except ValidationError as error:
        return _fail("weatherpeft", error_lines(error), 2)
    except RefusedError as error:
        return _fail("weatherpeft", error.lines, 2)
    except (ValueError, OSError) as error:
        return _fail("weatherpeft", [_one_line(error)], 2)
    except KeyboardInterrupt:  # reading the command line imports the stage, which takes seconds
        return _fail("weatherpeft", ["interrupted"], 130)
    if options.debug:
        logging.getLogger("weatherpeft").setLevel(logging.DEBUG)
    try:
        run()
    except (ValueError, OSError, FloatingPointError) as error:
        return _refuse(options, error)
    except AlreadyMadeError as found:
        _log.info("%s", found)
    except KeyboardInterrupt:
        return _fail(f"weatherpeft {options.subcommand}", ["interrupted"], 130)
    except Exception as error:
        if refusal := _of_the_disk(error):
            return _refuse(options, refusal)
        raise
    return 0


def _refuse(options: argparse.Namespace, error: Exception) -> int:
    _log.debug("traceback of the error below", exc_info=error)
    lines = error_lines(error) if isinstance(error, ValidationError) else [_one_line(error)]
    if isinstance(error, OSError) and error.filename is None and getattr(options, "output", None):
        lines = [f"while making {options.output}: {lines[0]}"]  # writing to an open file does not name it
    return _fail(f"weatherpeft {options.subcommand}", lines, 1)


def _of_the_disk(error: Exception) -> OSError | None:
    """What a file system refused, if a library made another error of it."""
    seen: BaseException | None = error
    while seen:
        if isinstance(seen, OSError) and seen.errno in _DISK:
            return seen
        for number in _DISK:
            if os.strerror(number) in str(seen):
                return OSError(number, " ".join(str(seen).split()))
        seen = seen.__cause__ or seen.__context__
    return None


def _fail(program: str, lines: list[str], status: int) -> int:
    # Of what threads of libraries met when they were left, asyncio would tell with tracebacks.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    text = "\n".join(f"{program}: error: {line}" for line in lines)
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # the log may lie on the disk that is full
        sys.stderr = sys.stdout  # so that Python does not try again at its end and change the status
        print(text, flush=True)
    return status


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _set_up_logging() -> None:
    """Log to standard error at the level of WEATHERPEFT_LOG, INFO by default."""
    level = os.environ.get("WEATHERPEFT_LOG", "INFO").upper()
    if level not in _LEVELS:
        raise ValueError(f"WEATHERPEFT_LOG is {level!r}, expected one of {', '.join(_LEVELS)}")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # Nobody wants the debug messages of other packages.
    logging.getLogger().setLevel(max(logging.getLevelNamesMapping()[level], logging.INFO))
    logging.getLogger("weatherpeft").setLevel(level)


def _parser(arguments: list[str], stages: str) -> argparse.ArgumentParser:
    """Build the parser. If the arguments name a stage, import only that stage."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="log debug messages, show tracebacks")
    parser = argparse.ArgumentParser(prog="weatherpeft", description="Adapt weather foundation models.")
    parser.add_argument("--version", action="version", version=f"weatherpeft {__version__}")
    subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)

    def add(name: str, summary: str, prepare: Prepare, *examples: str) -> argparse.ArgumentParser:
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=_epilog(examples),
            parents=[common],
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.set_defaults(prepare=prepare)
        return subparser

    names = _stage_names(stages)
    for name in [name for name in arguments[:1] if name in names] or names:
        stage = _load(stages, name)
        taken = parameters(stage)
        specs = [_SPECS] if "spec" in taken else []
        subparser = add(name, summary(stage), binder(stage, taken), example(stage), *specs)
        helps = documented(stage)
        for parameter, (annotation, default) in taken.items():
            add_option(subparser, parameter, annotation, default, helps.get(parameter, ""))
    add(
        "schema",
        "Print the JSON schema of an experiment's configuration.",
        lambda _: _print_schema,
        "weatherpeft schema > schema.json",
    )
    check = add(
        "check",
        "Validate an experiment's configuration, the headers of its files, and say what it will do.",
        lambda options: _checker(options.files, options.config),
        "weatherpeft check config/default.yaml",
        "weatherpeft check config/default.yaml config/overlays/three_seeds.yaml"
        " --config name=longer training='{steps: 500}'",
    )
    check.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="CONFIG",
        help="YAML files; each changes what the ones before say",
    )
    check.add_argument(
        "--config",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings that come last, as on Snakemake's command line",
    )
    beginner = add(
        "init",
        "Write a commented experiment for GRIB and NetCDF files: variables, periods, grids, methods.",
        lambda options: lambda: _start(options.files, options.output, options.force),
        "weatherpeft init raw/ --output my_experiment.yaml",
    )
    beginner.add_argument("files", nargs="+", metavar="FILES", help="files, folders or glob patterns")
    beginner.add_argument(
        "--output",
        type=Path,
        default=Path("my_experiment.yaml"),
        metavar="PATH",
        help="YAML file to write (default: my_experiment.yaml)",
    )
    beginner.add_argument(
        "--force", action="store_true", help="write the file anew where it is there already"
    )
    inspector = add(
        "inspect",
        "Show what an artifact holds and what it was made from, with a picture of its fields.",
        lambda options: lambda: _inspect(options.store, options.picture),
        "weatherpeft inspect results/default/statistics",
        "weatherpeft inspect results/default/predictions/full-seed0 --picture full.png",
    )
    inspector.add_argument("store", type=Path, metavar="STORE", help="artifact, or a Zarr store in it")
    inspector.add_argument(
        "--picture", type=Path, metavar="PATH", help="PNG to write (default: FOLDER-NAME.png, here)"
    )
    verifier = add(
        "verify",
        "Read artifacts whole and compare them with their checksums; name what was made from a bad one.",
        lambda options: lambda: _verify(options.paths),
        "weatherpeft verify",
        "weatherpeft verify results/default/runs data",
    )
    verifier.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="folders or artifacts (default: results and data)"
    )
    return parser


def _complete(stages: str) -> None:
    """Tell the shell what its command line may go on with, and end the process."""
    import argcomplete

    words = os.environ["COMP_LINE"].split()[int(os.environ["_ARGCOMPLETE"]) :]
    argcomplete.autocomplete(_parser(words, stages))


def _epilog(examples: Sequence[str]) -> str:
    """The end of a subcommand's help; argparse fills in what follows a percent sign."""
    lines = "\n".join(line for each in examples for line in each.split("\n") if line)
    return ("for example:\n" + textwrap.indent(lines, "  ")).replace("%", "%%")


def _stage_names(stages: str) -> list[str]:
    """The public modules of the package in the order of ``PIPELINE`` and ``AFTERWARDS``; others follow."""
    package = importlib.import_module(stages)
    names = {found.name for found in pkgutil.iter_modules(package.__path__) if found.name[0] != "_"}
    known = [name for name in (*PIPELINE, *AFTERWARDS) if name in names]
    return known + sorted(names.difference(known))


def _load(stages: str, name: str) -> Stage:
    module = importlib.import_module(f"{stages}.{name}")
    stage = getattr(module, name, None)
    if not inspect.isfunction(stage):
        raise TypeError(f"module {module.__name__} must define the function {name}, its stage")
    return stage


def _print_schema() -> None:
    from weatherpeft.config import Experiment

    print(json.dumps(Experiment.model_json_schema(), indent=2, ensure_ascii=False))


def _start(files: Sequence[str], output: Path, force: bool) -> None:
    from weatherpeft.starting import start

    for line in start(files, output, force):
        print(line)


def _inspect(path: Path, picture: Path | None) -> None:
    from weatherpeft.reporting.inspection import inspect as inspection

    path = path.resolve()
    for line in inspection(path, picture or Path(f"{path.parent.name}-{path.name}.png")):
        print(line)


def _verify(paths: Sequence[Path]) -> None:
    """Print a line for each artifact.

    Raises:
        ValueError: there is no artifact, or one is not as it was written.
    """
    from weatherpeft.artifacts.audit import audit

    paths = paths or [path for path in map(Path, ("results", "data")) if path.is_dir()]
    if not paths:
        raise ValueError("found neither results nor data here; give a folder or an artifact")
    count = bad = 0
    for finding in audit(paths):
        print(*finding.lines(), sep="\n", flush=True)
        count, bad = count + finding.is_artifact, bad + finding.is_bad
    if bad or not count:
        raise ValueError(f"{bad} of {count} artifacts are not as they were written")


def _checker(files: Sequence[Path], entries: Sequence[str]) -> Callable[[], None]:
    from weatherpeft.checks import checked
    from weatherpeft.checks.summary import summary

    experiment = checked(files, entries)

    def report() -> None:
        print(f"{', '.join(map(str, files))}: valid")
        for line in summary(experiment):
            print(line)

    return report


if __name__ == "__main__":
    sys.exit(main())
