"""`trimtab`: the commands, and how errors reach the user."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from trimtab.cli import (
    annotators,
    chat,
    compare,
    constitution,
    data,
    decontaminate,
    doctor,
    explain,
    judge,
    label,
    labels,
    models,
    plan,
    report,
    run,
    select,
    status,
)
from trimtab.errors import Interrupted, UserError

EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Steer a language model: fine-tuning, comparisons, reward model, PPO, and an honest report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"trimtab {version('trimtab')}")
        raise typer.Exit


@app.callback()
def _trimtab(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Steer a language model: fine-tuning, comparisons, reward model, PPO, and an honest report."""


app.command("run")(run.run_command)
app.command("plan")(plan.plan_command)
app.command("status")(status.status_command)
app.command("report")(report.report_command)
app.command("compare")(compare.compare_command)
app.command("explain")(explain.explain_command)
app.command("label")(label.label_command)
labels.app.command("select")(select.select_command)
app.add_typer(labels.app, name="labels")
app.command("annotators")(annotators.annotators_command)
app.command("judge")(judge.judge_command)
app.add_typer(constitution.app, name="constitution")
app.command("chat")(chat.chat_command)
app.command("doctor")(doctor.doctor_command)
app.add_typer(models.app, name="models")
data.app.command("decontaminate")(decontaminate.decontaminate_command)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line. An error the user can act on is printed without a traceback."""
    try:
        app()
    except Interrupted as stopped:
        _say(str(stopped))
        sys.exit(EXIT_INTERRUPTED)
    except UserError as error:
        _say(f"error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _say(text: str) -> None:
    from trimtab.cli.wrap import printable

    print(printable(text), file=sys.stderr)
