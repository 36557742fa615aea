"""`wfp-hil cert`: what certification asks of a driver, what is known of it, and what is left to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from harness.cert import Answers
    from harness.cert.evidence import Evidence
    from harness.cert.readiness import Finding
    from harness.cert.standing import Standing

AnswersOption = Annotated[Path | None, typer.Option("--answers", help="driver.toml; the one in this folder else.")]
ResultsOption = Annotated[
    list[Path] | None, typer.Option("--results", help="Folder of a run, more than once if need be; all in out/ else.")
]
ScenariosOption = Annotated[
    list[Path] | None, typer.Option("--scenarios", help="Folder or file of scenarios; those of the checkout else.")
]

app = typer.Typer(
    help="Getting ready for certification: what is asked of the driver, what is known, what is left to do.",
    invoke_without_command=True,
    add_completion=False,
)


@app.callback()
def table(
    context: typer.Context,
    answers: AnswersOption = None,
    results: ResultsOption = None,
    scenarios: ScenariosOption = None,
    id: Annotated[str | None, typer.Option(help="All about one requirement.")] = None,
    to_do: Annotated[bool, typer.Option("--to-do", help="Only what is left to do by hand, in order.")] = False,
) -> None:
    """Without a further word: a table of the requirements, with where each stands by the last results."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from harness.cert import load_answers, requirement
    from harness.cert.steps import steps_by_hand
    from harness.cert.table import show_one, show_standings, show_steps

    one = requirement(id) if id is not None else None
    given = load_answers(answers)
    evidence, _, standings = _gather(given, results, scenarios)
    console = Console(highlight=False)
    if one is not None:
        show_one(console, next(each for each in standings if each.requirement == one))
    elif to_do:
        show_steps(console, steps_by_hand(given, standings))
    else:
        show_standings(console, standings, evidence)


@app.command()
def init(
    driver: Annotated[Path, typer.Argument(help="The .sys file: its names and imports suggest answers.")],
    to: Annotated[Path, typer.Option(help="The file to write, or its folder.")] = Path("driver.toml"),
    yes: Annotated[bool, typer.Option("--yes", help="Take what the driver's file suggests, and ask nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Ask once what the driver is and does, and write driver.toml."""
    from harness.cert.asking import QUESTIONS, suggest, write_answers
    from harness.errors import UsageError

    if not force and (to / "driver.toml" if to.is_dir() else to).exists():
        raise UsageError(f"There is a '{to}' already.", hint="Edit it, or have it replaced with --force.")
    draft = suggest(driver)
    if not yes:
        draft.company = typer.prompt("Company, as the provider's display name has it", default=draft.company)
        draft.product = typer.prompt("Product, as the provider's description has it", default=draft.product)
        for name, question in QUESTIONS.items():
            if name == "layered_on_windows_firewall" and not draft.features["firewall"]:
                continue
            draft.features[name] = typer.confirm(question, default=draft.features[name])
        draft.by = typer.prompt("Who will attest (may stay empty)", default="", show_default=False)
    print(f"answers: {write_answers(draft, to, force=force)}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    answers: AnswersOption = None,
    guest: Annotated[str, typer.Option(help="A folder under vm-images, or the path of a guest.toml.")] = "reference",
    verifier: Annotated[
        Literal["off", "standard", "low-resources"] | None,
        typer.Option(help="Profile of Driver Verifier; Windows guests only."),
    ] = None,
    machines: Annotated[int | None, typer.Option(min=1, max=64, help="Machines side by side.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; out/<run> if not given.")] = None,
    scenarios: Annotated[
        Path | None, typer.Option(help="Folder or file of scenarios; those of the checkout else.")
    ] = None,
) -> None:
    """Run the scenarios for the requirements that concern the driver; any further words go to pytest.

    Ends as 'wfp-hil run' does: with 1 when the driver failed one.
    """
    from harness.cert import Settled, all_requirements, load_answers
    from harness.cli import run as running
    from harness.config import project_root

    given = load_answers(answers)
    wanted = [
        each.id
        for each in all_requirements().values()
        if Settled.SCENARIOS in each.settled and each.concerns(given.flags)
    ]
    folder = scenarios if scenarios is not None else project_root() / "scenarios"
    named = any(Path(word.split("::")[0]).exists() for word in context.args if not word.startswith("-"))
    context.args = [
        *context.args,
        # Said here, as 'run' would take the path of driver.toml for that of scenarios.
        *(() if named else (str(folder),)),
        "--answers",
        str(given.path),
        *(word for name in wanted for word in ("--requirement", name)),
    ]
    running.run(
        context,
        guest=guest,
        driver=given.driver_file,
        verifier=verifier,
        machines=machines,
        out=out,
        scenarios=folder,
    )


@app.command()
def check(answers: AnswersOption = None) -> None:
    """Look at the driver's package alone: INF, version resource, sections, imports; ends with 1 if something breaks."""
    from rich.console import Console

    from harness.cert import load_answers
    from harness.cert.readiness import examine_package
    from harness.cert.table import show_findings

    findings = examine_package(load_answers(answers))
    show_findings(Console(highlight=False), findings)
    raise typer.Exit(1 if any(finding.breaks for finding in findings) else 0)


@app.command()
def wfplogo(
    answers: AnswersOption = None,
    to: Annotated[Path, typer.Option(help="The folder to write into.")] = Path(),
) -> None:
    """Write WFPLogo.Info and WFPLogo.Answer for the lab kit's test of the filtering platform."""
    from harness.cert import load_answers
    from harness.cert.wfplogo import doubtful_programs, missing_kinds, write_wfplogo

    given = load_answers(answers)
    for path in write_wfplogo(given, to):
        print(f"wrote: {path}")
    missing = missing_kinds(given)
    if missing:
        print(f"note: no command under [commands] for {', '.join(missing)}: the test will ask for these settings.")
    for text in doubtful_programs(given):
        print(f"note: {text}")


@app.command()
def report(
    answers: AnswersOption = None,
    results: ResultsOption = None,
    scenarios: ScenariosOption = None,
    to: Annotated[Path, typer.Option(help="The file to write.")] = Path("certification.html"),
) -> None:
    """Write one HTML file: each requirement with its evidence, and what remains to be done by hand, in order."""
    from harness.cert import load_answers
    from harness.cert.page import write_page

    given = load_answers(answers)
    evidence, findings, standings = _gather(given, results, scenarios)
    print(f"report: {write_page(to, given, evidence, findings, standings)}")


def _gather(
    answers: Answers, results: list[Path] | None, scenarios: list[Path] | None
) -> tuple[Evidence, list[Finding], list[Standing]]:
    from harness.cert.evidence import find_runs, gather_evidence
    from harness.cert.readiness import examine_package
    from harness.cert.standing import stand
    from harness.config import project_root

    evidence = gather_evidence(
        project_root(),
        answers.driver_file,
        results if results is not None else find_runs(Path("out")),
        [path.absolute() for path in scenarios or [project_root() / "scenarios"]],
        named=results is not None,
    )
    findings = examine_package(answers)
    return evidence, findings, stand(answers, evidence, findings)
