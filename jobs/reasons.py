"""The reason codes: one table of every way a row can end badly or a batch can wait.

Every view (screen, JSON, report, docs) reads this table, so a code means the same everywhere. A code is never
renamed: scripts of users depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Acts = Literal["photographer", "operator", "admin", "the API's owner", "nobody"]
Charged = Literal["no", "yes", "maybe"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One code: a sentence for a person, who acts, whether the API charged, whether a retry can help."""

    code: str
    sentence: str
    acts: Acts
    charged: Charged
    retry: bool


def _table(*reasons: Reason) -> Mapping[str, Reason]:
    return {reason.code: reason for reason in reasons}


ROW_REASONS: Mapping[str, Reason] = _table(
    # the picture
    Reason("image_not_found", "There is no picture at this place.", "photographer", "no", True),
    Reason("image_forbidden", "The bucket does not let Retouch read this picture.", "admin", "no", True),
    Reason("image_empty", "The file is empty.", "photographer", "no", True),
    Reason("image_unreadable", "The file is not a picture that Retouch can read.", "photographer", "no", True),
    Reason("image_truncated", "The picture is cut off.", "photographer", "no", True),
    Reason("image_too_large", "The picture has over 150 megapixels.", "photographer", "no", True),
    Reason("image_changed", "The file changed after the plan was made.", "photographer", "no", True),
    Reason("image_rejected", "The API could not read the picture.", "photographer", "maybe", False),
    Reason("url_refused", "Retouch does not fetch from this address.", "photographer", "no", False),
    Reason("url_not_found", "The address has no picture (404).", "photographer", "no", True),
    Reason("url_forbidden", "The address does not let Retouch read (401 or 403).", "photographer", "no", True),
    Reason("url_unreachable", "The address did not answer.", "photographer", "no", True),
    Reason("url_too_large", "What lies at the address is larger than the API takes.", "photographer", "no", True),
    Reason("url_redirects", "The address redirects too often.", "photographer", "no", False),
    # the request
    Reason("request_refused", "The API refused the request as it is.", "photographer", "no", False),
    Reason(
        "request_moderated",
        "The API's filter refused the prompt or the picture.",
        "photographer",
        "no",
        False,
    ),
    Reason("result_moderated", "The API's filter withheld the result.", "photographer", "maybe", False),
    # the API
    Reason("api_error", "The API failed at this edit, every time.", "the API's owner", "maybe", True),
    Reason(
        "retry_budget",
        "The API failed at this edit, and the batch had used up its new tries.",
        "the API's owner",
        "maybe",
        True,
    ),
    Reason("lost_at_api", "The API never said how the task ended.", "the API's owner", "yes", True),
    Reason(
        "in_doubt",
        "The API may have charged; Retouch does not ask again by itself.",
        "operator",
        "maybe",
        True,
    ),
    # the result
    Reason(
        "paid_not_delivered",
        "The edit was paid, its result could not be fetched in time.",
        "operator",
        "yes",
        True,
    ),
    Reason(
        "result_unreadable",
        "What the API delivered is not a readable picture.",
        "the API's owner",
        "yes",
        True,
    ),
    Reason(
        "output_not_ours",
        "Something that Retouch did not write lies at the output key.",
        "operator",
        "no",
        True,
    ),
    Reason("output_refused", "The bucket refuses to take an object at the output key.", "admin", "yes", True),
    # the run
    Reason("internal_error", "Retouch itself failed at this row; its log says how.", "operator", "no", True),
    Reason("cancelled", "The batch was cancelled before this row was submitted.", "operator", "no", True),
)

WAIT_REASONS: Mapping[str, Reason] = _table(
    Reason("operator", "Paused by hand; `retouch resume` goes on.", "operator", "no", True),
    Reason(
        "proof",
        "The first edits wait for approval: their pictures, or a cost of over 20 % more than was expected.",
        "operator",
        "no",
        True,
    ),
    Reason("cap", "A money ceiling is reached: of the batch, or of the day.", "operator", "no", True),
    Reason("failures", "Too many rows failed, or were moderated; look at their reasons first.", "operator", "no", True),
    Reason(
        "key",
        "No key can be used: the API refuses each, or none has an account; it goes on once one can (`retouch keys`).",
        "admin",
        "no",
        True,
    ),
    Reason("storage", "The bucket cannot be reached or refuses to be written.", "admin", "no", True),
    Reason(
        "staging",
        "Local pictures wait to be uploaded; run `retouch resume` where they are.",
        "operator",
        "no",
        True,
    ),
    Reason(
        "doubt",
        "Too many rows are held in doubt; `retouch retry --in-doubt` or `retouch cancel --in-doubt` decides.",
        "operator",
        "maybe",
        True,
    ),
)

FLAGS: Mapping[str, str] = {
    "input_shrunk": "An input was over the API's limits and was shrunk before it was sent.",
    "format_differs": "The API delivered another format than was asked for; filed as delivered.",
    "size_differs": "The API delivered another size than was asked for; filed as delivered.",
    "cost_not_believed": "The API reported a cost over 10 times the estimate, counted in full, or none that is a sum.",
}
"""What a row may be flagged with; a stored result counts as stored."""

REASONS: Mapping[str, Reason] = {**ROW_REASONS, **WAIT_REASONS}


def as_markdown() -> str:
    """Return the table as it stands in the docs."""
    lines = []
    for title, table in (("A row did not make it", ROW_REASONS), ("A batch waits", WAIT_REASONS)):
        lines += [
            f"## {title}",
            "",
            "| code | what it means | who acts | charged | can a retry help |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| `{r.code}` | {r.sentence} | {r.acts} | {r.charged} | {'yes' if r.retry else 'no'} |"
            for r in table.values()
        ]
        lines.append("")
    lines += ["## A stored result is flagged", "", "| flag | what it means |", "|---|---|"]
    lines += [f"| `{flag}` | {sentence} |" for flag, sentence in FLAGS.items()]
    return "\n".join(lines) + "\n"
