"""`retouch retry`: what did not make it runs again, as another round of the same batch."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from config.parts import shares_of
from jobs.batch import Batch
from jobs.held import held
from jobs.job import Job
from jobs.models import MICROS_PER_USD
from jobs.outcome import usd
from jobs.reasons import ROW_REASONS
from jobs.report.wording import counted, dollars, duration
from producers.cli import options as o
from producers.cli.batches import follow_or_tell
from producers.cli.doubting import asked_to_buy_again
from producers.cli.house import House, looking_house, working_house
from producers.cli.live import SIMULATED
from producers.cli.voice import OK, Stop, Voice
from producers.rounds import Choice, NoRound, Round, Wish, begin, choose, ended, planned_round, reasons_listed
from producers.view import NO_WORKER

Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="CODE", help="Only rows with this reason; may be repeated. Default: any."),
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="GROUP", help="Only rows of this group; may be repeated. Default: any."),
]


def retry(
    batch: o.BatchName,
    reason: Reasons = None,
    group: Groups = None,
    in_doubt: o.InDoubt = False,
    max_cost: o.MaxCost = None,
    watch: o.Watch = False,
    yes: o.Yes = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Run again what did not make it in BATCH, which has ended; shows the price and asks first."""
    voice = Voice(json=json, quiet=quiet)
    if not yes and not voice.at_terminal:
        raise Stop(
            "nobody_to_ask",
            "Another round costs money and there is no terminal to ask at.",
            "Give --yes to start it without being asked.",
        )
    if in_doubt and reason:
        raise Stop("usage", "--in-doubt is a reason of its own.", "Leave --reason out.")
    wish = Wish(reasons=frozenset(reason or ()), groups=frozenset(group or ()), in_doubt=in_doubt)
    unknown = sorted(wish.reasons - set(ROW_REASONS))
    if unknown:
        raise Stop("usage", f"{unknown[0]!r} is no reason of a row.", f"Reasons are {', '.join(ROW_REASONS)}.")
    with looking_house(voice, to_work=True) as house:
        agreed = house.view.agreed(batch)
        if house.stack is None or house.simulated == agreed.simulated:
            return _retry(agreed, wish, max_cost, house, voice, yes=yes, watch=watch)
    if not agreed.simulated:
        raise Stop(
            "other_api",
            "This batch ran on the real API, and no key is set here.",
            "Set RETOUCH_API__KEYS (or BFL_API_KEY) as it was then.",
        )
    with working_house(voice, simulate=True, workers=0) as house:
        return _retry(agreed, wish, max_cost, house, voice, yes=yes, watch=watch)


def _retry(
    agreed: Batch, wish: Wish, max_cost: float | None, house: House, voice: Voice, *, yes: bool, watch: bool
) -> int:
    if wish.in_doubt and (jobs := list(held(agreed.id, house.ledger))):
        return _held_again(agreed, jobs, house, voice, yes=yes, watch=watch)
    try:
        ended(agreed.id, house.ledger)
        choice = choose(agreed.id, wish, bucket=house.bucket, layout=house.layout)
        if not choice.rows:
            return _nothing(agreed, wish, choice, house, voice)
        began = _asked_and_begun(agreed, choice, max_cost, house, voice, yes=yes)
    except NoRound as error:
        raise Stop(error.code, str(error), error.remedy) from None
    return OK if began is None else _followed(began, house, voice, watch=watch)


def _held_again(agreed: Batch, jobs: list[Job], house: House, voice: Voice, *, yes: bool, watch: bool) -> int:
    if not asked_to_buy_again(agreed, jobs, house, voice, yes=yes):
        return OK
    return _followed(agreed, house, voice, watch=watch)


def _followed(batch: Batch, house: House, voice: Voice, *, watch: bool) -> int:
    house.view.no_worker = NO_WORKER
    if house.runs_here and house.stack is not None:
        house.stack.add_worker()
    return follow_or_tell(batch, house, voice, watch=watch)


def _asked_and_begun(
    agreed: Batch, choice: Choice, max_cost: float | None, house: House, voice: Voice, *, yes: bool
) -> Batch | None:
    """Plan the round, show its price, ask, and open it; None if the answer is no."""
    allowance = house.settings.submit.doubt_allowance_usd
    with planned_round(
        agreed,
        choice.rows,
        bucket=house.bucket,
        layout=house.layout,
        catalogue=house.catalogue,
        allowance=None if allowance is None else round(allowance * MICROS_PER_USD),
        shares=shares_of(house.settings),
        ceiling=None if max_cost is None else round(max_cost * MICROS_PER_USD),
    ) as planned:
        if agreed.simulated:
            voice.note(SIMULATED)
        for text in _left_out(choice):
            voice.note(text)
        if yes:
            voice.note(f"Round {planned.number}: {_price(planned)}.")
        elif not voice.confirm(_question(planned, simulated=agreed.simulated)):
            voice.note("Nothing was started.")
            voice.document({**_document(agreed, planned), "started": False})
            return None
        return begin(planned, bucket=house.bucket, layout=house.layout, ledger=house.ledger, hints=house.hints)


def _nothing(agreed: Batch, wish: Wish, choice: Choice, house: House, voice: Voice) -> int:
    """Say why no row runs again; it is no mistake where every row made it."""
    if not choice.reasons and not wish.groups:
        voice.tell(f"Every row of {agreed.id} made it: there is nothing to run again.")
        voice.document(house.view.batch(agreed.id))
        return OK
    there = reasons_listed(choice.reasons.most_common()) or "none"
    message = f"No row of {agreed.id} runs again. What did not make it: {there}."
    raise Stop("nothing_to_retry", message, " ".join(_left_out(choice)) or "Leave --reason or --group out.")


def _left_out(choice: Choice) -> list[str]:
    found = []
    if choice.hopeless:
        reasons = reasons_listed(choice.hopeless.most_common())
        found.append(f"Left out, because asking again does not help: {reasons}; --reason CODE takes them along.")
    if choice.doubtful:
        rows = counted(choice.doubtful, "row")
        found.append(f"Left out: {rows} in doubt, which may have been paid for; --in-doubt runs them again.")
    return found


def _price(planned: Round) -> str:
    estimate = planned.estimate
    most = dollars(usd(min(planned.ceiling, estimate.at_most)))
    price = f"about {dollars(usd(estimate.expected))}, at most {most}"
    return f"{counted(estimate.rows, 'edit')} for {price}, about {duration(estimate.seconds)}"


def _question(planned: Round, *, simulated: bool) -> str:
    start = f"Start round {planned.number}, {_price(planned)}?"
    return f"SIMULATED, nothing is bought. {start}" if simulated else start


def _document(agreed: Batch, planned: Round) -> dict[str, Any]:
    estimate = planned.estimate
    return {
        "batch": agreed.id,
        "round": planned.number,
        "rows": estimate.rows,
        "expected_usd": usd(estimate.expected),
        "at_most_usd": usd(estimate.at_most),
        "allowance_usd": usd(estimate.allowance),
        "ceiling_usd": usd(planned.ceiling),
        "seconds": round(estimate.seconds, 1),
    }
