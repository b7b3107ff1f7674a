"""Works out what a row asks of a model: the model itself and the fields that are sent, typed and in range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jobs.models import Catalogue, Model
from jobs.pictures import extension
from jobs.request import Param
from producers.manifest.columns import REFERENCES, field_names
from producers.manifest.options import PlanOptions
from producers.manifest.problems import ManifestError, RowProblem, listed, problem, shown
from producers.manifest.spelling import hint
from producers.manifest.values import BadValue, check_size, parse_value, unknown_field


class Asked(NamedTuple):
    """A model, the fields that are sent to it, and the file ending that its result will likely have."""

    model: Model
    params: Mapping[str, Param]
    extension: str
    size: tuple[int | None, int | None]
    """The `width` and `height` that are asked for."""


def work_out(
    name: str,
    texts: Mapping[str, str],
    options: PlanOptions,
    catalogue: Catalogue,
    *,
    decimal_comma: bool = False,
) -> tuple[Asked | None, tuple[RowProblem, ...]]:
    """Return what a row asks for, and what is wrong with it.

    Args:
        name: the row's model cell; empty for the batch's model, or else the catalogue's default.
        texts: the row's cells by field name; an empty one takes the batch's value.
        options: the batch-wide values.
        catalogue: the models.
        decimal_comma: the manifest writes numbers as `4,5`.
    """
    models = catalogue.models
    chosen = name or options.model or catalogue.default
    model = models.get(chosen)
    if model is None:
        message = f"there is no model {shown(chosen)}{hint(chosen, models)}"
        return None, (problem("model", "model_unknown", message, f"the models are: {listed(models)}"),)
    given = {field: text for field, text in options.fields.items() if text.strip()}
    given |= {field: text for field, text in texts.items() if text.strip()}
    params: dict[str, Param] = {}
    bad: list[RowProblem] = []
    for field, text in given.items():
        try:
            if field not in model.fields:
                raise unknown_field(model, field, models)
            params[field] = parse_value(model.fields[field], text, decimal_comma=decimal_comma)
        except BadValue as error:
            code = "value_invalid" if field in model.fields else "field_unknown"
            bad.append(problem(field, code, str(error), error.remedy))
    size = _side(params, "width"), _side(params, "height")
    try:
        check_size(model, *size)
    except BadValue as error:
        bad.append(problem("width", "value_invalid", str(error), error.remedy))
    asked = Asked(
        model=model,
        params=dict(sorted(params.items())),
        extension=_extension(model, params),
        size=size,
    )
    return asked, tuple(bad)


def check_batch_wide(options: PlanOptions, catalogue: Catalogue) -> None:
    """Check what is said for the whole batch, so that it is one error and not one a row.

    Raises:
        ManifestError: an unknown model or field, or too many references.
    """
    models = catalogue.models
    if options.model is not None and options.model not in models:
        raise ManifestError(
            f"there is no model {shown(options.model)}{hint(options.model, models)}",
            remedy=f"the models are: {listed(models)}",
        )
    every = field_names(catalogue)
    for name in options.fields:
        if name not in every:
            raise ManifestError(
                f"no model has a field {shown(name)}{hint(name, every)}", remedy=f"the fields are: {listed(every)}"
            )
    if len(options.references) > len(REFERENCES):
        raise ManifestError(f"there are over {len(REFERENCES)} references", remedy="no model takes more")


def _side(params: Mapping[str, Param], name: str) -> int | None:
    value = params.get(name)
    return value if isinstance(value, int) else None


def _extension(model: Model, params: Mapping[str, Param]) -> str:
    asked = params.get("output_format", model.output_format)
    return extension("png" if asked == "png" else "webp" if asked == "webp" else "jpeg")
