"""`pyramidion policy`: what a product asks of a new model, and who lets it judge."""

import dataclasses
import getpass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidion.errors import UserError
from pyramidion.output import out, print_json
from pyramidion.passwords import SignAs, password_of

if TYPE_CHECKING:
    from db.policies import Rules


class Promotion(StrEnum):
    PERSON = "person"
    AUTOMATIC = "automatic"


def policy(
    product: Annotated[str, typer.Argument(help="The product.")],
    false_reject_rate: Annotated[
        float | None, typer.Option(help="Share of good parts that a new model may reject, such as 0.005.")
    ] = None,
    default_false_reject_rate: Annotated[
        bool, typer.Option("--default-false-reject-rate", help="As each model was calibrated for.")
    ] = False,
    confidence: Annotated[
        float | None, typer.Option(help="Of the intervals that allow for chance, such as 0.95.")
    ] = None,
    promotion: Annotated[
        Promotion | None, typer.Option(help="Who lets a challenger judge that has scored enough beside.")
    ] = None,
    shadow_share: Annotated[
        float | None, typer.Option(help="Share of the line's images that a challenger scores, such as 0.1.")
    ] = None,
    shadow_images: Annotated[
        int | None, typer.Option(max=10_000_000, help="Images that it scores before it may judge.")
    ] = None,
    retrain_on_drift: Annotated[
        bool | None, typer.Option(help="Whether an alarm of drift asks for a training.")
    ] = None,
    hold_on_golden: Annotated[
        bool | None,
        typer.Option(help="Whether a golden sample that fails makes its station's verdicts inconclusive."),
    ] = None,
    sign_as: SignAs = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show by what a new model of PRODUCT is measured and who promotes it, or change what is given."""
    from db import inspections, policies, signatures
    from pyramidion.context import open_context

    if default_false_reject_rate and false_reject_rate is not None:
        raise UserError(
            f"--false-reject-rate {false_reject_rate} and --default-false-reject-rate exclude each other"
        )
    given = {
        "false_reject_rate": false_reject_rate,
        "confidence": confidence,
        "promotion": None if promotion is None else promotion.value,
        "shadow_share": shadow_share,
        "shadow_images": shadow_images,
        "retrain_on_drift": retrain_on_drift,
        "hold_on_golden": hold_on_golden,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if default_false_reject_rate:
        changes["false_reject_rate"] = None
    context = open_context()
    if changes:
        password = password_of(sign_as)
        with context.sessions.begin() as session:
            inspections.require_product(session, product)
            signature = signatures.approval(session, "policy", sign_as, password, "approval: policy")
            by = getpass.getuser() if signature is None else str(signature["user"])
            try:
                policies.change(session, product, changes, by, signature)
            except ValueError as error:
                raise UserError(f"{error}; nothing was changed") from None
    elif sign_as is not None:
        raise UserError("nothing to sign: without a change the policy is only shown")
    with context.reading() as session:
        inspections.require_product(session, product)
        rules = policies.of(session, product)
    if as_json:
        print_json({"product": product, **dataclasses.asdict(rules)})
    else:
        _show(product, rules)


def _show(product: str, rules: "Rules") -> None:
    from db import approvals

    rate = rules.false_reject_rate
    target = "the rate that it was calibrated for" if rate is None else f"{rate:.2%}"
    waits = "a person promotes it"
    if rules.promotion == "automatic":
        waits = "it is promoted if it is no worse there"
        if approvals.required("promotion"):
            waits = "a person promotes it, since that takes a signature here (PYRAMIDION_REQUIRE_SIGNATURE)"
    asks = "asks" if rules.retrain_on_drift else "does not ask"
    holds = "makes its station's verdicts inconclusive" if rules.hold_on_golden else "changes no verdict"
    told = {
        "gate": f"no golden sample wrong, good parts rejected within {target}, recall within the champion's "
        f"interval, both at {rules.confidence:.1%} confidence",
        "shadow": f"a challenger scores {rules.shadow_share:.1%} of the line's images, {rules.shadow_images} "
        f"at least; then {waits}",
        "drift": f"an alarm {asks} for a training",
        "golden": f"a sample that fails {holds}",
    }
    out.print(f"{product}: what a new model is asked", markup=False, highlight=False, soft_wrap=True)
    for name, text in told.items():
        out.print(f"  {name:8}{text}", markup=False, highlight=False, soft_wrap=True)
