"""`bulkrnabert completion`: what makes a shell complete subcommands and options."""

from __future__ import annotations

import click

from bulkrnabert.cli._look import stage

PROGRAM = "bulkrnabert"
EXAMPLES = {
    "bash, in this shell": 'eval "$(bulkrnabert completion bash)"',
    "fish, for good": "bulkrnabert completion fish > ~/.config/fish/completions/bulkrnabert.fish",
}


@stage("completion", EXAMPLES, has_json=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete the names of subcommands, options and their values.

    \b
    For good:
      bash   bulkrnabert completion bash > ~/.bulkrnabert.bash
             and in ~/.bashrc: source ~/.bulkrnabert.bash      (bash 4.4 or later)
      zsh    bulkrnabert completion zsh > ~/.bulkrnabert.zsh
             and in ~/.zshrc, below compinit: source ~/.bulkrnabert.zsh
      fish   bulkrnabert completion fish > ~/.config/fish/completions/bulkrnabert.fish
    """
    from click.shell_completion import get_completion_class

    program = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(program, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source())
