"""The `bulkrnabert` command: one subcommand a stage, each imported only when it is called."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path

import click

from bulkrnabert.errors import EXIT_BAD_INPUT, BulkRNABertError
from bulkrnabert.logs import set_up_logging
from bulkrnabert.provenance import package_version

logger = logging.getLogger(__name__)

STAGES = (
    *("download", "doctor", "preprocess", "split", "tokenize", "pretrain", "import-weights", "embed", "probe"),
    *("finetune", "predict", "impute", "impute-benchmark", "panels", "anchors", "biomarkers", "cross-modal"),
    *("attribute", "evaluate", "report", "track", "plan", "cost", "crate", "update", "promote"),
    *("annotate", "annotate-probes", "synth", "serve-gdc", "fingerprint"),
)
AFTER_AN_INTERRUPT = {
    "download": "; run the same command again to go on",
    "pretrain": "; run the same command again to go on",
    "preprocess": "; nothing was written",
}


class _StageGroup(click.Group):
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


@click.group(cls=_StageGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_version(), prog_name="bulkrnabert")
@click.option("--verbose", is_flag=True, help="Log every step, and show the traceback of an error.")
def program(verbose: bool) -> None:
    """Encoders for bulk RNA-seq: from the portals to pretrained models, numbers and a report.

    Every subcommand reads and writes plain files, so that a stage can be run by hand as well as by the pipeline.
    Exit status: 0 done; 2 bad input or configuration; 1 a fault of ours or of a portal; 75 checkpointed, run again.
    """
    set_up_logging(verbose)


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
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    # Processes that a stage starts (torchrun's workers) use the same code, also from a pulled pipeline.
    source = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    sys.exit(_run([stage, *sys.argv[1:]]))
