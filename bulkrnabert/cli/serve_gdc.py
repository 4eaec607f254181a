"""`bulkrnabert serve-gdc`: an HTTP stand-in for the GDC."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import click

from bulkrnabert.errors import ConfigError

logger = logging.getLogger(__name__)


@click.command("serve-gdc")
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="TCP port on 127.0.0.1; 0 for any free one.")
@click.option(
    "--study",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Study made by `bulkrnabert synth`.  [default: a study with seed 0]",
)
@click.option(
    "--faults",
    type=click.Path(path_type=Path, dir_okay=False),
    help='JSON list of scripted faults, as [{"fault": "truncate", "path": "/data/", "nth": 2, "at_bytes": 100}].',
)
def command(port: int, study: Path | None, faults: Path | None) -> None:
    """Serve a synthetic study over HTTP in the shape of the GDC's interface, until interrupted.

    Answers /status, /projects, /files, /cases, /annotations, /history/{id}, /files/versions/{ids} and /data/{id} (with
    ranges), by GET and POST, with the GDC's filters, fields, paging and sorting; on this machine only. Writes nothing.
    """
    from bulkrnabert.data.sources.gdc_faults import read_faults
    from bulkrnabert.data.sources.gdc_standin import serve
    from bulkrnabert.data.synthetic import SyntheticStudy

    world = SyntheticStudy.create() if study is None else SyntheticStudy.from_json(study)
    script = [] if faults is None else read_faults(faults)
    try:
        with serve(world, script, port) as handle:
            logger.info(
                "serving %d projects and %d files at %s", len(world.project_ids), len(world.all_files), handle.url
            )
            threading.Event().wait()
    except OSError as error:
        raise ConfigError(f"--port {port} cannot be used: {error.strerror}; choose another, or 0 for any") from error
    except KeyboardInterrupt:
        logger.info("stopped")
