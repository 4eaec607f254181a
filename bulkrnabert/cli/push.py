"""`bulkrnabert push`: a model to a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert.cli._look import dry_run_option, stage
from bulkrnabert.cli._model_folder import model_folder
from bulkrnabert.cli._result import finish

if TYPE_CHECKING:
    from bulkrnabert.downstream.published_form import StatedAccess

EXAMPLES = {
    "What would be published": "bulkrnabert push --model checkpoint --to owner/name --dry-run",
    "A private repository": "bulkrnabert push --model checkpoint --to owner/name",
    "For everybody, with a licence": (
        "bulkrnabert push --model finetuned/model --to owner/name --public --licence cc-by-4.0"
    ),
}


@stage("push", EXAMPLES)
@model_folder
@click.option(
    "--to", "repo_id", metavar="ID", required=True, help="Repository on the hub, as owner/name; made if absent."
)
@click.option("--public", is_flag=True, help="Let everybody see it.  [default: private]")
@click.option(
    "--licence", help="The hub's name of the licence of the weights, as cc-by-4.0.  [default: as the model card says]"
)
@click.option(
    "--data-access",
    type=click.Choice(["open", "local"]),
    help="Access class of the training data, where the model's records do not state it.",
)
@click.option("--branch", help="Branch to publish to.  [default: the main one]")
@dry_run_option
def command(
    folder: Path,
    repo_id: str,
    public: bool,
    licence: str | None,
    data_access: StatedAccess | None,
    branch: str | None,
    dry_run: bool,
) -> None:
    """Publish a model on a model hub: safetensors and text files with the model card, in one commit.

    Training state and other files stay behind. Refused (exit status 2) where the model was made from data of access
    class controlled, or where nobody states the class. Where the data are not open, the hashes of the training patients
    are not published. The model is loaded first, so that nothing broken leaves.

    The hub and the login are those of huggingface_hub: HF_ENDPOINT, and HF_TOKEN or `hf auth login`. The token is never
    shown. `bulkrnabert card` puts the numbers of a finished run into the card before.
    """
    from bulkrnabert.downstream.finetuned_folder import load_finetuned
    from bulkrnabert.downstream.hub import publish
    from bulkrnabert.downstream.pretrained import is_finetuned, load
    from bulkrnabert.downstream.published_form import check_export, published_files

    access = check_export(folder, data_access)
    files = published_files(folder)
    loader = load_finetuned if is_finetuned(folder) else load
    loader(folder)
    n_bytes = sum((folder / file).stat().st_size for file in files)
    seen_by = "public" if public else "private"
    what = f"{len(files)} files, {n_bytes / 1e6:.1f} MB, data-access class {access}, {seen_by}"
    if dry_run:
        finish(
            None,
            f"nothing was published; would go to {repo_id}: {what}",
            "the same without --dry-run",
            text="\n".join(file.as_posix() for file in files),
            files=[file.as_posix() for file in files],
            access=access,
        )
        return
    done = publish(folder, repo_id, private=not public, licence=licence, data_access=data_access, branch=branch)
    finish(
        None,
        f"published at {done.url}: {what}, commit {done.commit}",
        f'brb.{loader.__name__}("{repo_id}", revision="{done.commit}")',
        url=done.url,
        commit=done.commit,
        access=access,
    )
