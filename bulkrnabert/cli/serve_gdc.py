"""`bulkrnabert serve-gdc`: an HTTP stand-in for the GDC."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.errors import ConfigError

logger = logging.getLogger(__name__)

EXAMPLES = {
    "A portal of your own, for a try": "bulkrnabert serve-gdc --port 8080 --study study.json",
    "One whose third file breaks off": "bulkrnabert serve-gdc --port 8080 --faults faults.json --log requests.jsonl",
}


@stage("serve-gdc", EXAMPLES, has_json=False)
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port on 127.0.0.1; 0 for any free one.  [required]")
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
@click.option("--list-faults", is_flag=True, help="Print the faults and the keys of a script, and end.")
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the requests, a JSON object a line: time_s, method, path, byte_range, if_range, body, status, …",
)
def command(port: int | None, study: Path | None, faults: Path | None, list_faults: bool, log: Path | None) -> None:
    """Serve a synthetic study over HTTP in the shape of the GDC's interface, until interrupted.

    Answers /status, /notifications, /projects, /files, /cases, /annotations (searches, single records, _mapping),
    /history/{id}, /files/versions, /data (one file with ranges, or an archive of several), /manifest and
    /analysis/survival, with and without /v0, with the filters, fields, facets, paging and sorting of the GDC. On this
    machine only. Files that are not open want the header `X-Auth-Token: good`. Writes nothing but the log.
    """
    from bulkrnabert.data.sources.gdc_faults import describe_faults, read_faults
    from bulkrnabert.data.sources.gdc_standin import serve
    from bulkrnabert.data.synthetic import SyntheticStudy

    if list_faults:
        click.echo(describe_faults())
        return
    if port is None:
        raise click.UsageError("Missing option '--port'.")
    world = SyntheticStudy.create() if study is None else SyntheticStudy.from_json(study)
    script = [] if faults is None else read_faults(faults)
    try:
        with serve(world, script, port, log=log) as handle:
            logger.info(
                "serving %d projects and %d files at %s (Ctrl-C ends it); next: bulkrnabert download --api %s"
                " --projects %s --out RAW",
                len(world.project_ids),
                len(world.all_files),
                handle.url,
                handle.url,
                world.project_ids[0],
            )
            threading.Event().wait()
    except OSError as error:
        if log is not None and error.filename == str(log):
            raise ConfigError(f"--log {log} cannot be written: {error.strerror}; choose another place") from error
        raise ConfigError(f"--port {port} cannot be used: {error.strerror}; choose another, or 0 for any") from error
    except KeyboardInterrupt:
        logger.info("stopped")
