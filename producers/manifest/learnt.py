"""What a manifest's columns come to under what a batch says: worked out once, because a million rows follow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.models import Catalogue
from producers.manifest.columns import Meaning, made_meaning, understand
from producers.manifest.options import PlanOptions
from producers.manifest.output import DEFAULT_OUTPUT, FILTERS, OPEN_EXTENSION, same_place
from producers.manifest.problems import ManifestError, listed
from producers.manifest.spelling import hint
from producers.manifest.template import Bound, Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """All that a row is judged by, beside the row itself.

    `columns` is the header of a CSV; empty for JSON lines, whose keys are learnt from the rows. Relative paths start at
    `folder`. `made` are the names of what a source profile makes of each row (`RawRow.mapped`); columns mean
    nothing then. `rules` are those of them that the profile has a rule for.
    """

    columns: tuple[str, ...]
    options: PlanOptions
    catalogue: Catalogue
    folder: Path
    name: str
    decimal_comma: bool = False
    made: tuple[str, ...] = ()
    rules: frozenset[str] = frozenset()


class Templates:
    """The templates of a batch, parsed.

    Raises:
        ManifestError: one cannot be used, whatever the columns are.
    """

    def __init__(self, options: PlanOptions) -> None:
        prompt = options.prompt if options.prompt and options.prompt.strip() else None
        self.prompt = Template.parse(prompt, "--prompt") if prompt else None
        self.output = Template.parse(options.output or DEFAULT_OUTPUT, "--output")
        if any("{" in part or "}" in part for part in self.output.literals):
            raise ManifestError("--output holds braces that are meant", remedy="a key has no braces but {ext}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What is known once the columns are. A cell's place counts the row's own, then what a profile made of it.

    `given` are references for rows without one; None where no row has any. `open_places` is how often `{ext}` stands
    in what is the same in every key. `group` is the cell that says what belongs together. `in_key` are cells of the
    user's that a key is made of, its id aside. A picture of `own`, the bucket of the results, can only be at a key
    where its place begins with `own_folder`.
    """

    columns: tuple[str, ...]
    meaning: Meaning
    prompt: Bound | None
    output: Bound
    given: tuple[str, ...] | None
    open_places: int
    group: int | None
    used: frozenset[int]
    in_key: tuple[int, ...]
    own: str
    own_folder: str


def learn(columns: tuple[str, ...], terms: Terms, templates: Templates) -> Learnt:
    """Return what these columns come to; again when a JSON row brings a new key.

    Raises:
        ManifestError: what is wrong for every row: columns, or a template that names none of them.
    """
    options, late = terms.options, not terms.columns
    data = options.data_columns & {*columns} if late else options.data_columns
    if terms.made:
        meaning = made_meaning(columns, terms.made, terms.rules, terms.catalogue)
    else:
        meaning = understand(columns, terms.catalogue, data)
    where = {name: at for at, name in enumerate(columns)}
    width = len(columns) + len(terms.made)
    places = {**where}
    places |= {name: len(columns) + terms.made.index(name) for name in ("position", "role") if terms.made}
    prompt = templates.prompt.bind(places, open_ended=late) if templates.prompt else None
    # A key's own names come before columns: a product's `name` must not take the place of the batch's.
    places |= {"id": width, "row": width + 1}
    constants = {"name": terms.name, "ext": OPEN_EXTENSION}
    output = templates.output.bind(places, constants=constants, filters=FILTERS, open_ended=late)
    alone = not options.references and not any(place is not None for place in meaning.references)
    group = where.get(options.group) if options.group is not None else None
    if options.group is None and "group" in terms.rules:
        group = len(columns) + terms.made.index("group")
    # A picture that lies in another folder than every key can be at none of them.
    lead = output.lead if not late and meaning.output is None else ""
    used = meaning.known | output.positions | (prompt.positions if prompt else frozenset())
    used |= {group} if group is not None else frozenset()
    learnt = Learnt(
        columns=columns,
        meaning=meaning,
        prompt=prompt,
        output=output,
        given=None if alone else options.references,
        open_places=output.fixed(OPEN_EXTENSION),
        group=group,
        used=frozenset(at for at in used if at < len(columns)),
        in_key=tuple(sorted(at for at in output.positions if at < len(columns) and at != meaning.id)),
        own=f"s3://{options.bucket}/" if options.bucket else "",
        own_folder=same_place(lead[: lead.rfind("/") + 1], ""),
    )
    if not late:
        _check_table(learnt, options)
    return learnt


def _check_table(learnt: Learnt, options: PlanOptions) -> None:
    if learnt.meaning.image is None:
        raise ManifestError(
            f"the manifest has no column 'image'{hint('image', learnt.columns)}",
            remedy="name the column with the pictures 'image', or let `retouch columns FILE` draft a profile; "
            f"the columns are: {listed([name for name in learnt.columns if name.strip()])}",
            line=1,
        )
    if learnt.meaning.prompt is None and learnt.prompt is None:
        raise ManifestError("there is no prompt", remedy="give --prompt, or a column 'prompt'")
    check_group(learnt, options)
    prefix = options.prefix
    if learnt.output.lead.casefold().startswith(prefix.casefold()):
        raise ManifestError(f"every output would lie under {prefix}, which is Retouch's own", remedy="give --name")


def check_group(learnt: Learnt, options: PlanOptions) -> None:
    """Check that there is the column by which rows are grouped.

    Raises:
        ManifestError: there is none.
    """
    if options.group is not None and learnt.group is None:
        raise ManifestError(
            f"there is no column '{options.group}' to group by{hint(options.group, learnt.columns)}",
            remedy=f"the columns are: {listed(learnt.columns)}",
        )
