"""The command line: parse, call one verb, and return its exit code."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence

from ci_mlops.cli import judging, operating, parser, releasing, remembering, showing
from ci_mlops.cli.places import Environ

VERBS: Mapping[str, Callable[[Namespace, Environ], int]] = {
    "init": judging.init,
    "run": judging.run,
    "plan": judging.plan,
    "report": judging.report,
    "verdict": judging.verdict,
    "publish": showing.publish,
    "chatops": showing.chatops,
    "feedback": operating.feedback,
    "image": judging.image,
    "card": showing.card,
    "compliance": showing.compliance,
    "monitor": operating.monitor,
    "retrain": operating.retrain,
    "promote": releasing.promote,
    "rollback": releasing.rollback,
    "render": releasing.render,
    "record": remembering.record,
    "ledger": releasing.ledger_sync,
    "history": remembering.history,
    "status": remembering.status,
    "live": remembering.live,
    "why": remembering.why,
    "diff": showing.diff,
    "schema": judging.schema,
}


def main(arguments: Sequence[str], environ: Environ) -> int:
    """Run one verb and return its exit code."""
    parsed = parser.parser().parse_args(arguments)
    return VERBS[parsed.verb](parsed, environ)
