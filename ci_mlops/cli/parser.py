"""The words of the command line: verbs, flags and the help that teaches them."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

from ci_mlops import __version__
from ci_mlops.errors import ConfigError

EXIT_CODES = """\
exit codes:
  0    passed, or passed with warnings
  1    the verdict is failed, or evidence is missing or cannot be read
  2    mlops.yml, a flag or a policy is wrong
  3    a fault of ci-mlops itself
  4    something outside refused (git, docker, a registry, GitHub)
  5    promote: it did not hold in place, and was rolled back
  6    promote: something newer is live already
  7    promote, rollback: refused; nothing changed
  130  interrupted
"""

VERBS = {
    "init": (
        "write a working mlops.yml from a look at the repository",
        """\
Looks at the repository and at one data file (found, or named with --data), guesses the label, the
key, the task and the model, and writes mlops.yml with comments, and starter workflows: one that
judges and one that publishes, so that pull requests from forks are served too. It overwrites
nothing unless told to with --force.

  ci-mlops init
  ci-mlops init --single-workflow   one job that judges and publishes, for a private repository
  ci-mlops init --data data/test.csv --label approved
  ci-mlops init --add release,monitor,feedback   workflows for a project that has its mlops.yml
""",
    ),
    "run": (
        "judge the working tree against its base commit",
        """\
The head is the working tree as it stands. The base is the merge-base with the main branch (or with
--base), checked out beside it in .mlops/base; your tree is not touched. Stages whose inputs did not
change since an earlier run reuse its evidence and say so. Leaves .mlops/evidence/*.json,
.mlops/report.md and .mlops/report.html.

  ci-mlops run                       judge this branch
  ci-mlops run --base origin/main    against a certain branch
  ci-mlops run --only policy         one stage; that is no verdict on the whole gate
""",
    ),
    "plan": (
        "show which stages would run, in what order",
        """\
Reads mlops.yml alone; looks at no data and runs nothing. With --matrix it prints the projects of
the repository (every tracked mlops.yml) that changed since the base, as a matrix for GitHub.

  ci-mlops plan
  ci-mlops plan --json | jq '.stages[].name'
  ci-mlops plan --matrix
""",
    ),
    "report": (
        "render the report of evidence that was gathered",
        """\
Reads .mlops/evidence (or --evidence, for records that other jobs gathered) and writes report.md, a
pull-request comment of at most 65,536 characters, and report.html, which holds everything.

  ci-mlops report --evidence downloaded/evidence --output site
""",
    ),
    "verdict": (
        "decide again from evidence that was gathered",
        """\
Holds .mlops/evidence (or --evidence) against the gate: the base's, or that of the file named with
--config. Missing, damaged or foreign evidence never passes.

  ci-mlops verdict
  ci-mlops verdict --json | jq -r .verdict
""",
    ),
    "publish": (
        "show the verdict on GitHub: summary, comment, check, SARIF and JUnit",
        """\
Judges the evidence in .mlops, writes report.md, report.html, report.sarif and report.junit.xml
there, and, in a workflow run with GITHUB_TOKEN, the job's summary and outputs (verdict, report,
evidence), one comment on the pull request, edited in place, and a check on the tested commit. The
exit code is the verdict's own: publishing that fails is a warning.

  ci-mlops publish              in the job that made the evidence
  ci-mlops publish --via cml    let CML post the comment
  ci-mlops publish --run ID     in a trusted job (workflow_run): judge the evidence of another run
""",
    ),
    "chatops": (
        "obey a command in a pull request's comment",
        """\
Reads the issue_comment event of the workflow run. `/mlops rerun` judges the pull request's head
again, `/mlops report` links the latest report, `/mlops promote ENVIRONMENT` and `/mlops rollback
ENVIRONMENT` start the workflow that releases, on the default branch; all only for people with write
permission, of whom GitHub is asked. Others are answered once, and nothing runs.

  ci-mlops chatops
  ci-mlops chatops --config models/loans/mlops.yml --workflow loans-release.yml
""",
    ),
    "feedback": (
        "make a row of corrections of a wrong prediction and its right answer",
        """\
Takes what the model was given and what is right from flags, from JSON, from an issue that the form
model-feedback made, or from a log of predictions. Holds it against what the model takes and what
its data holds, refuses what names a person, what is corrected already and what contradicts a
correction, and adds a row to the file that `stages.behaviour.feedback` names. With --pull-request
the row goes to the branch ci-mlops/feedback-N, in one pull request that closes issue N; your tree
stays as it is.

  ci-mlops feedback add --features income=5000 debt=0 --expected no --issue 12
  ci-mlops feedback add --prediction-id 3f2a --log logs/ --expected no --issue 12 --reason repaid
  ci-mlops feedback add --from issue.md --issue 12
  ci-mlops feedback add --from-issue 12 --pull-request
""",
    ),
    "image": (
        "check that an image or a server speaks Open Inference as promised",
        """\
Starts an image by its digest, with a read-only file system, no capabilities and no privileges, and
asks its server: ready in time, metadata, predictions, wrong input refused with 4xx and a clear
line, no request lost on SIGTERM under load. Any Open Inference v2 server will do, not only ours;
one at an address is asked the same, but not told to end.

  ci-mlops image verify registry.example.org/loans@sha256:...
  ci-mlops image verify loans:candidate --rows .mlops/evidence/image/recorded.json
  ci-mlops image verify http://127.0.0.1:8080 --model loans
""",
    ),
    "card": (
        "write the model card of the latest run next to the model",
        """\
Makes MODEL_CARD.md, with the header that the Hugging Face Hub reads, and MODEL_CARD.html of the
latest run's evidence and of the human part that `model.card` names (model_card.yml). Numbers come
from evidence alone; what was not measured or answered is said. --check only says whether the card
that stands there speaks of what was judged.

  ci-mlops run && ci-mlops card
  ci-mlops card --check
""",
    ),
    "compliance": (
        "print which evidence answers which article, and where there is none",
        """\
Holds the latest run's evidence and the model card against maps of the EU AI Act (articles 9 to 15,
annex IV), the NIST AI RMF and New York City's local law 144. Only what passed or warned answers;
what nothing answers is a hole, with who has to fill it. It is no legal advice.

  ci-mlops compliance
  ci-mlops compliance --map nist-ai-rmf --json
""",
    ),
    "monitor": (
        "look at production: drift, accuracy, fairness, latency, resources",
        """\
Holds what is live in the environment that `monitors:` names to what was judged for it: the
prediction log and its labels, and Prometheus. Leaves evidence and a report in
.mlops/monitors/ENVIRONMENT, like `run`. With --issue one issue per project and environment is
kept on GitHub: opened when a monitor fails, edited, and closed when all are well again. With --act
what `on_failure` names follows at once: a rollback, a pull request with a model trained anew.

  ci-mlops monitor
  ci-mlops monitor --only drift
  ci-mlops monitor --issue --act     where it is run by the hour
""",
    ),
    "retrain": (
        "train anew on labelled predictions, and propose the outcome",
        """\
Runs the command of `monitors.retrain` in a fresh checkout of the default branch; CI_MLOPS_WINDOW
names a Parquet file of the labelled predictions. What it changes goes to the branch
ci-mlops/retrain-ENVIRONMENT and one pull request, with the digests before and after. Asked again
within `every_hours` it changes nothing. Without GITHUB_TOKEN the branch alone is pushed.

  ci-mlops retrain --reason "the new form asks for net income"
""",
    ),
    "promote": (
        "make what was judged live in an environment, verified in place",
        """\
Takes the bundle of the latest `ci-mlops run` in this checkout, if its verdict passed and the tree
is the one that was judged. Starts it beside what is live, verifies it (ready, the judged answers,
errors, time), switches, verifies again, and takes it back where anything does not hold. Writes
intent and end into the ledger. Run again after a crash, it goes on.

  ci-mlops promote production
  ci-mlops promote staging --dry-run
""",
    ),
    "rollback": (
        "make live again what was live before, verified in place",
        """\
Goes back to what was live before what is, in the same verified way; the switch is made only when
the former version answers as it was judged. A promotion that has not ended is taken back.

  ci-mlops rollback production --reason "complaints since noon"
  ci-mlops rollback production --to sha256:3f78...
""",
    ),
    "render": (
        "print the manifests of what was judged, for Kubernetes, KServe or Argo Rollouts",
        """\
Prints YAML for those who let a repository be applied (GitOps): what `ci-mlops promote` would apply
to an environment whose target is kubernetes. The image is named by its digest as the tag, as
promote pushes it, or as --image says.

  ci-mlops render kubernetes production > deploy/loans.yaml
  ci-mlops render kserve production --image registry.example.org/team/loans@sha256:3f78...
""",
    ),
    "record": (
        "keep the latest run's verdict and figures for the dashboard",
        """\
Adds a small summary of .mlops/evidence (or --evidence, for that of a monitor), without rows of
data, to the branch ci-mlops-records beside the ledger's: for runs of what is on the main branch,
and of monitors. A run is kept once; what a pull request proposes is refused.

  ci-mlops record
  ci-mlops record --evidence .mlops/monitors/production/evidence
""",
    ),
    "ledger": (
        "bring every mirror of the ledger to what it says",
        """\
Mirrors say elsewhere what is live: GitHub Deployments, a tag of an OCI registry, an alias of
MLflow, as `mirrors` of each environment in mlops.yml names them. A release writes them once its end
stands in the ledger; sync writes them at any other time, after a fault or from nothing, and says
what it changed. Where something outside refuses the others are written all the same, and the exit
code is 4.

  ci-mlops ledger sync
  ci-mlops ledger sync production --dry-run
  ci-mlops ledger sync --json | jq '.[].changed'
""",
    ),
    "history": (
        "list what was promoted and rolled back, the newest first",
        """\
Reads the ledger: an append-only branch, ci-mlops-ledger, of the remote origin, or of --ledger, or
of the repository itself where it has no remote. With --html it writes a page instead: what is live,
releases, and the verdicts, figures and latency that `ci-mlops record` kept, over time.

  ci-mlops history
  ci-mlops history production --limit 5
  ci-mlops history --json | jq '.[].to'
  ci-mlops history --html site/index.html --since 2026-09-01
""",
    ),
    "status": (
        "say what each environment runs, and what has not ended there",
        """\
  ci-mlops status
  ci-mlops status --json | jq -r .production.live
""",
    ),
    "live": (
        "print the digest of what is live, or was at a date",
        """\
Prints the digest alone, so that programs can use it. A bare date means the end of that day in UTC.
Where nothing was live the exit code is 1.

  ci-mlops live production
  ci-mlops live production --at 2026-11-23
  ci-mlops live production --at 2026-11-23T10:30:00+01:00 --json
""",
    ),
    "why": (
        "print the lineage of a model, a release or a report: data, code, policy, run, people",
        """\
Takes a file (a model, a data file, a record), a report or a folder of evidence, an environment, or
the beginning of a digest. Prints what the evidence here says of it, and each entry of the ledger
that rests on it; what neither says is unknown, and said to be.

  ci-mlops why production
  ci-mlops why .mlops/report.html
  ci-mlops why model/model.joblib
  ci-mlops why 3f786850e387
""",
    ),
    "diff": (
        "say how the data changed, without showing any of it",
        """\
Compares the data that mlops.yml names between two versions of the repository, or two files or
folders: rows added, removed and changed by key, columns, types, missing values, ranges, the label,
parts of the data, and how much that may break, with the reason. Nothing is fetched: pointers of DVC
and Git LFS with equal digests are equal data. Values of the key and of columns below `sensitive`,
`hidden` or --hide are never shown. Where data differs and is not here the exit code is 4.

  ci-mlops diff                     the working tree, since it left the main branch
  ci-mlops diff origin/main         since it left another branch
  ci-mlops diff v1.0 v1.1           two commits
  ci-mlops diff old.csv new.parquet --key id --label approved
  ci-mlops diff --fail-on high      exit code 1 where the risk is high
""",
    ),
    "schema": (
        "print the JSON Schema of mlops.yml or of the evidence",
        """\
  ci-mlops schema              the schema of mlops.yml
  ci-mlops schema record       the schema of a stage's evidence
  ci-mlops schema policy       the schema of a policy pack
  ci-mlops schema --write DIR  every schema, as files
""",
    ),
}


def names(text: str) -> list[str]:
    """Split a list of names at its commas; an empty text holds none."""
    return [name.strip() for name in text.split(",") if name.strip()]


CONFIG = ("--config", {"type": Path, "metavar": "FILE", "help": "default: mlops.yml"})
ONLY = ("--only", {"action": "extend", "type": names, "default": [], "metavar": "STAGES"})
SKIP = ("--skip", {"action": "extend", "type": names, "default": [], "metavar": "STAGES"})
BASE = (
    "--base",
    {"metavar": "REV", "help": "compare with the merge-base of REV and HEAD"},
)
JSON = ("--json", {"action": "store_true", "help": "print one JSON document, for programs"})
EVIDENCE = (
    "--evidence",
    {"type": Path, "metavar": "DIR", "help": "default: .mlops/evidence beside mlops.yml"},
)

LEDGER = (
    "--ledger",
    {"metavar": "REMOTE", "help": "git remote with the ledger: a name, a URL or a path"},
)
REASON = ("--reason", {"metavar": "TEXT", "default": "", "help": "why, for the ledger"})
ID = (
    "--id",
    {"metavar": "ID", "help": "asked twice with one id, it is done once (default: the run's)"},
)

FLAGS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "init": (
        CONFIG,
        ("--data", {"metavar": "FILE", "help": "held-out data to look at (default: found)"}),
        ("--label", {"metavar": "COLUMN", "help": "what the model predicts (default: guessed)"}),
        ("--model", {"metavar": "FILE", "help": "the model file (default: found)"}),
        ("--single-workflow", {"action": "store_true", "help": "judge and publish in one job"}),
        (
            "--add",
            {
                **ONLY[1],
                "metavar": "NAMES",
                "help": "starters for release, monitor, retrain, dashboard, feedback",
            },
        ),
        ("--force", {"action": "store_true", "help": "overwrite files that are there"}),
    ),
    "run": (
        CONFIG,
        BASE,
        (ONLY[0], {**ONLY[1], "help": "run only these stages, separated by commas"}),
        (SKIP[0], {**SKIP[1], "help": "leave these stages out, separated by commas"}),
        ("--no-cache", {"action": "store_true", "help": "measure again what could be reused"}),
        ("--cores", {"type": int, "metavar": "N", "help": "stages side by side (default: cores)"}),
        (
            "--openlineage",
            {"metavar": "TARGET", "help": "send OpenLineage events to a file or an http(s) URL"},
        ),
        JSON,
    ),
    "plan": (
        CONFIG,
        (ONLY[0], {**ONLY[1], "help": "plan only these stages, separated by commas"}),
        (SKIP[0], {**SKIP[1], "help": "leave these stages out, separated by commas"}),
        JSON,
        ("--matrix", {"action": "store_true", "help": "print a repository's changed projects"}),
        (
            "--all",
            {
                "action": argparse.BooleanOptionalAction,
                "default": False,
                "help": "with --matrix: every project, whatever changed",
            },
        ),
        (BASE[0], {**BASE[1], "help": "with --matrix: changed since the merge-base with REV"}),
    ),
    "report": (
        CONFIG,
        EVIDENCE,
        ("--output", {"type": Path, "metavar": "DIR", "help": "default: beside the evidence"}),
    ),
    "verdict": (CONFIG, EVIDENCE, JSON),
    "publish": (
        CONFIG,
        ("--folder", {"type": Path, "metavar": "DIR", "help": "default: .mlops beside mlops.yml"}),
        (
            "--run",
            {"type": int, "metavar": "ID", "help": "the workflow run to judge, from the API"},
        ),
        (
            "--via",
            {"choices": ("github", "cml"), "help": "who comments (default: as mlops.yml says)"},
        ),
        JSON,
    ),
    "chatops": (
        (
            "--config",
            {
                "metavar": "PATH",
                "default": "mlops.yml",
                "help": "the configuration on the default branch (default: mlops.yml)",
            },
        ),
        (
            "--workflow",
            {
                "metavar": "FILE",
                "default": "mlops-release.yml",
                "help": "the workflow that releases (default: mlops-release.yml)",
            },
        ),
    ),
    "feedback": (
        ("action", {"choices": ("add",), "help": "add: one correction"}),
        CONFIG,
        (
            "--from",
            {
                "metavar": "FILE",
                "dest": "from_",
                "help": "an issue's body or JSON; `-` is standard input",
            },
        ),
        (
            "--from-issue",
            {"type": int, "metavar": "N", "help": "the issue of that number, on GitHub"},
        ),
        (
            "--features",
            {
                "action": "extend",
                "nargs": "+",
                "default": [],
                "metavar": "NAME=VALUE",
                "help": "what the model was given; `debt=` is a missing value",
            },
        ),
        ("--prediction-id", {"metavar": "ID", "help": "look it up in the log of predictions"}),
        ("--row", {"type": int, "metavar": "N", "help": "which row of that request, from 0"}),
        ("--log", {"metavar": "DIR", "help": "folder of the log of predictions"}),
        ("--expected", {"metavar": "ANSWER", "help": "the right answer"}),
        (
            "--tolerance",
            {"type": float, "metavar": "X", "help": "of regressions: how near is right"},
        ),
        ("--issue", {"type": int, "metavar": "N", "help": "the issue that is credited"}),
        ("--reason", {"metavar": "TEXT", "default": "", "help": "why that is right"}),
        ("--pull-request", {"action": "store_true", "help": "propose it as a pull request"}),
        JSON,
    ),
    "image": (
        (
            "action",
            {"choices": ("verify",), "help": "verify: ask everything; 1 on a fault"},
        ),
        ("reference", {"metavar": "REF|URL", "help": "an image, or the address of a server"}),
        ("--model", {"default": "", "metavar": "NAME", "help": "default: the only one it serves"}),
        (
            "--rows",
            {"type": Path, "metavar": "FILE", "help": "recorded rows and predictions, as JSON"},
        ),
        ("--port", {"type": int, "default": 8080, "help": "port in the image (default: 8080)"}),
        (
            "--ready-within",
            {"type": float, "default": 60.0, "metavar": "S", "help": "seconds (default: 60)"},
        ),
        (
            "--tolerance",
            {"type": float, "default": 1e-6, "metavar": "X", "help": "default: 1e-6"},
        ),
        JSON,
    ),
    "card": (
        CONFIG,
        EVIDENCE,
        ("--output", {"type": Path, "metavar": "DIR", "help": "default: next to the model"}),
        ("--check", {"action": "store_true", "help": "write nothing; 1 where the card is stale"}),
    ),
    "compliance": (
        CONFIG,
        EVIDENCE,
        ("--map", {"metavar": "NAME", "help": "only this one (default: all)"}),
        ("--output", {"type": Path, "metavar": "FILE", "help": "Markdown, and a page beside it"}),
        JSON,
    ),
    "monitor": (
        CONFIG,
        (ONLY[0], {**ONLY[1], "help": "look with these monitors, separated by commas"}),
        (SKIP[0], {**SKIP[1], "help": "leave these monitors out, separated by commas"}),
        ("--issue", {"action": "store_true", "help": "keep one issue on GitHub"}),
        ("--act", {"action": "store_true", "help": "do what `on_failure` names"}),
        LEDGER,
        JSON,
    ),
    "retrain": (CONFIG, REASON, LEDGER, JSON),
    "promote": (
        ("environment", {}),
        CONFIG,
        EVIDENCE,
        ("--dry-run", {"action": "store_true", "help": "say what would be done, and do nothing"}),
        ("--again", {"action": "store_true", "help": "also what was rolled back before"}),
        REASON,
        ID,
        LEDGER,
        JSON,
    ),
    "rollback": (
        ("environment", {}),
        CONFIG,
        ("--to", {"metavar": "DIGEST", "help": "what to go back to (default: what was before)"}),
        (
            "--from",
            {
                "metavar": "DIGEST",
                "dest": "from_",
                "help": "do nothing unless this is live",
            },
        ),
        REASON,
        ID,
        LEDGER,
        JSON,
    ),
    "render": (
        ("flavour", {"choices": ("kubernetes", "kserve", "rollouts")}),
        ("environment", {}),
        CONFIG,
        EVIDENCE,
        ("--digest", {"metavar": "DIGEST", "help": "default: what the latest run judged"}),
        ("--image", {"metavar": "REF", "help": "default: the digest in `repository`"}),
    ),
    "record": (CONFIG, EVIDENCE, LEDGER),
    "ledger": (
        ("action", {"choices": ("sync",), "help": "sync: write the mirrors"}),
        ("environment", {"nargs": "?", "help": "only of this environment"}),
        CONFIG,
        (
            "--dry-run",
            {"action": "store_true", "help": "say what would change, and change nothing"},
        ),
        LEDGER,
        JSON,
    ),
    "history": (
        ("environment", {"nargs": "?", "help": "only of this environment"}),
        ("--limit", {"type": int, "metavar": "N", "help": "so many at most (default: all)"}),
        (
            "--since",
            {"metavar": "DATE", "help": "a date or time, ISO 8601 (default: from the beginning)"},
        ),
        ("--html", {"type": Path, "metavar": "FILE", "help": "write the dashboard, as a page"}),
        LEDGER,
        JSON,
    ),
    "status": (LEDGER, JSON),
    "live": (
        ("environment", {}),
        ("--at", {"metavar": "DATE", "help": "a date or time, ISO 8601 (default: now)"}),
        LEDGER,
        JSON,
    ),
    "why": (
        ("what", {"help": "a file, a report, a folder of evidence, an environment or a digest"}),
        CONFIG,
        EVIDENCE,
        LEDGER,
        JSON,
    ),
    "diff": (
        ("base", {"nargs": "?", "help": "a revision, or a file or folder of data"}),
        ("head", {"nargs": "?", "help": "another of the kind (default: the working tree)"}),
        CONFIG,
        ("--key", {"metavar": "COLUMN", "help": "what names a row (default: as mlops.yml says)"}),
        ("--label", {"metavar": "COLUMN", "help": "what a model predicts (default: likewise)"}),
        (
            "--hide",
            {
                "action": "extend",
                "type": names,
                "default": [],
                "metavar": "COLUMNS",
                "help": "show no value of these either, separated by commas",
            },
        ),
        (
            "--fail-on",
            {
                "choices": ("low", "medium", "high"),
                "help": "exit code 1 from this risk on (default: never)",
            },
        ),
        JSON,
    ),
    "schema": (
        (
            "which",
            {"nargs": "?", "default": "mlops", "choices": ("mlops", "record", "run", "policy")},
        ),
        ("--write", {"type": Path, "metavar": "DIR", "help": "write every schema as a file"}),
    ),
}


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a flag, and where to read on."""

    def error(self, message: str) -> NoReturn:
        """Raise the fault as a ConfigError in place of printing the usage."""
        raise ConfigError(message, place=self.prog, remedy=f"See `{self.prog} --help`")


def parser() -> Parser:
    """Return the whole command line; it imports nothing heavy, so that --help is immediate."""
    top = Parser(
        prog="ci-mlops",
        description="Judge a pull request that touches code, data or a model: run the stages of\n"
        "mlops.yml on base and head, keep their evidence, and say whether it may pass.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"ci-mlops {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for name, (text, more) in VERBS.items():
        verb = verbs.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.\n\n{more}",
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for flag, options in FLAGS[name]:
            verb.add_argument(flag, **options)
    return top
