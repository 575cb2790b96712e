"""A card and a map of articles from a whole run, by the command line."""

import json

from tests import project
from tests.conftest import Repo
from tests.project import ci_mlops

HUMAN = "owner: us\nintended_use: To lend.\nlimitations: Few rows.\ntraining_data: Made up.\n"


def test_a_model_in_git_needs_a_fresh_card_and_gets_it_in_one_step(repo: Repo) -> None:
    project.make(repo)
    text, _, _ = (repo.path / "mlops.yml").read_text(encoding="utf-8").partition("stages:")
    text = text.replace("  task: binary\n", "  task: binary\n  card: model_card.yml\n")
    text = text.replace("prepare:\n  - python train.py\n", "")
    stages = (
        "stages:\n  model: {deepchecks: false}\n  policy: {packs: [documentation, no-regression]}\n"
    )
    ignore = repo.path / ".gitignore"
    ignore.write_text(".mlops/\n", encoding="utf-8")
    code, _, errors = ci_mlops(repo.path, "run")
    assert code == 0, errors
    repo.git("add", "-f", "model.joblib")
    repo.commit({"mlops.yml": text + stages, "model_card.yml": HUMAN}, "A card of evidence")
    repo.commit({"note.txt": "1"}, "A change that is judged by those rules")
    code, said, _ = ci_mlops(repo.path, "run")
    assert (code, "there is no MODEL_CARD.md next to the model" in said) == (1, True), said
    code, said, _ = ci_mlops(repo.path, "card", "--check")
    assert (code, "MODEL_CARD.md is missing" in said) == (1, True)
    code, said, errors = ci_mlops(repo.path, "card")
    assert (code, len(said.splitlines())) == (0, 2), errors
    repo.commit(message="The card")
    code, said, errors = ci_mlops(repo.path, "run")
    assert code == 0, said + errors
    assert ci_mlops(repo.path, "card", "--check")[0] == 0
    made = (repo.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Groups by sex: 95 % intervals" in made
    code, said, errors = ci_mlops(repo.path, "compliance", "--json")
    assert code == 0, errors
    maps = {one["name"]: one["articles"] for one in json.loads(said)}
    states = {one["article"]: one["state"] for one in maps["eu-ai-act"]}
    assert (states["9 (2)"], states["15 (1) and (3)"]) == ("hole", "answered")
    assert "no legal advice" in ci_mlops(repo.path, "compliance", "--map", "nist-ai-rmf")[1]
    (repo.path / "mlops.yml").write_text(text.replace("model_card.yml", "gone.md") + stages)
    code, _, errors = ci_mlops(repo.path, "card")
    assert (code, "names no human part" in errors) == (2, True), errors
