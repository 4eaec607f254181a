"""The `bulkrnabert` command: one subcommand a stage, each imported only when it is called."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich_click import RichGroup
from rich_click.rich_panel import RichCommandPanel

from bulkrnabert.cli._look import CONTEXT, WithExamples
from bulkrnabert.errors import EXIT_BAD_INPUT, BulkRNABertError
from bulkrnabert.logs import set_up_logging
from bulkrnabert.provenance import package_version

logger = logging.getLogger(__name__)

GROUPS = {
    "Data": ("download", "annotate", "annotate-probes", "doctor", "preprocess", "split"),
    "Encoders": ("tokenize", "plan", "pretrain", "import-weights", "embed", "push"),
    "Predictions": ("probe", "finetune", "predict", "impute", "attribute", "biomarkers"),
    "Judging": ("evaluate", "impute-benchmark", "panels", "anchors", "cross-modal", "report", "card"),
    "Running a facility": ("update", "promote", "track", "cost", "crate"),
    "Trying it out": ("synth", "serve-gdc"),
    "The program": ("completion", "fingerprint"),
}
STAGES = tuple(name for names in GROUPS.values() for name in names)
AFTER_AN_INTERRUPT = {
    "download": "; run the same command again to go on",
    "pretrain": "; run the same command again to go on",
    "preprocess": "; nothing was written",
}


class _StageGroup(WithExamples, RichGroup):  # type: ignore[misc]  # as rich-click's own RichGroup
    """Finds subcommands as modules of this folder: `serve-gdc` is `serve_gdc.py` with a click command `command`.

    They are listed in the order in which they are used, and others at the end.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        folder = Path(__file__).parent
        found = {path.stem.replace("_", "-") for path in folder.glob("*.py") if not path.stem.startswith("_")}
        return [name for name in STAGES if name in found] + sorted(found.difference(STAGES))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"bulkrnabert.cli.{cmd_name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the names that are like a wrong one: click looks for them among loaded commands."""
        known = self.list_commands(ctx)
        if args[0] in known or args[0].startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        raise click.exceptions.NoSuchCommand(args[0], possibilities=known, ctx=ctx)


@click.group(cls=_StageGroup, context_settings=CONTEXT)
@click.version_option(package_version(), prog_name="bulkrnabert")
@click.option("--verbose", is_flag=True, help="Log every step, and show the traceback of an error.")
def program(verbose: bool) -> None:
    """Encoders for bulk RNA-seq: from the portals to pretrained models, numbers and a report.

    Every subcommand reads and writes plain files, so that a stage can be run by hand as well as by the pipeline. Its
    help ends with worked examples; its last line says where the result is and what to do next.

    Exit status: 0 done; 2 bad input or configuration; 1 a fault of ours or of a portal; 75 checkpointed, run again;
    128 and a signal's number where one ended a training process (137: most likely out of memory).
    """
    set_up_logging(verbose)


assert isinstance(program, _StageGroup)
program.panels = [RichCommandPanel(title, commands=list(names)) for title, names in GROUPS.items()]
program.examples = {
    "Is your table fit for it? Go or no-go, and what to do": "bulkrnabert doctor --table mine.tsv --unit tpm",
    "The help of one command": "bulkrnabert embed --help",
}


def _run(arguments: list[str]) -> int:
    try:
        result = program.main(args=arguments, prog_name="bulkrnabert", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except BulkRNABertError as error:
        if "--verbose" in arguments:
            logger.exception("traceback")
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    except OSError as error:
        if error.filename is None:
            raise
        if "--verbose" in arguments:
            logger.exception("traceback")
        click.echo(f"Error: {error.filename}: {error.strerror}; check the path and its permissions", err=True)
        return EXIT_BAD_INPUT
    except click.exceptions.Abort:
        stage = next((argument for argument in arguments if not argument.startswith("-")), "")
        click.echo(f"Error: interrupted{AFTER_AN_INTERRUPT.get(stage, '')}", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return EXIT_BAD_INPUT


def main() -> None:
    """Entry point of the console script."""
    sys.exit(_run(sys.argv[1:]))


def run_stage(stage: str) -> None:
    """Entry point of `bin/brb-<stage>`."""
    _prepare_task()
    sys.exit(_run([stage, *sys.argv[1:]]))


def run_in_turn(commands: Sequence[list[str]]) -> None:
    """Entry point of `bin/in-turn`: ends with the status of the first command that fails."""
    _prepare_task()
    for number, arguments in enumerate(commands, start=1):
        start = time.monotonic()
        code = _run(arguments)
        logger.info("job %d of %d: %.1f s, status %d", number, len(commands), time.monotonic() - start, code)
        if code:
            sys.exit(code)


def _prepare_task() -> None:
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    # Processes that a stage starts (torchrun's workers) use the same code, also from a pulled pipeline.
    source = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
