"""`model_card.yml`: what only people know of a model, and every card needs.

Source of the sections: Mitchell et al., Model Cards for Model Reporting (2019), section 4.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, ValidationError

from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.strict_yaml import did_you_mean, read
from ci_mlops.values import Many, Value

Text = Annotated[str, Field(max_length=20_000)]


class Human(Value):
    """The human part of a model card; policies say which fields it must answer."""

    title: Text = ""
    """Default: the project's name."""
    owner: Text = ""
    """Who answers for the model."""
    contact: Text = ""
    """Where questions and complaints go."""
    license: Text = ""
    """Its identifier on the Hugging Face Hub, such as `apache-2.0`, or a sentence."""
    tags: Many[str] = ()
    intended_use: Text = ""
    """What it is for, and whom it concerns."""
    out_of_scope: Text = ""
    """What it must not be used for."""
    training_data: Text = ""
    """Where the data comes from, what it covers, and how it was labelled."""
    evaluation: Text = ""
    """What there is to say about the figures, which stand beside it."""
    limitations: Text = ""
    """Where it fails."""
    risks: Text = ""
    """What could go wrong for whom, and what is done about it."""
    human_oversight: Text = ""
    """Who can overrule a decision, and how."""

    def answers(self) -> Mapping[str, str]:
        """Return what is answered, by the name that policies ask for: `intended use`."""
        told = self.model_dump(exclude={"tags"})
        return {name.replace("_", " "): text.strip() for name, text in told.items() if text.strip()}


def parse(text: str, place: str) -> Human:
    """Read the human part. Raises CannotLook, naming the field."""
    try:
        return Human.model_validate(read(text, place).value or {})
    except ConfigError as fault:
        raise CannotLook(fault.fault, place=fault.place, remedy=fault.remedy) from fault
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        said = f"unknown field{did_you_mean(name, Human.model_fields)}" if unknown else first["msg"]
        raise CannotLook(f"{name}: {said}" if name else said, place=place) from fault


def is_human(card: str | None) -> bool:
    """Whether `model.card` names the human part, from which the card is made."""
    return card is not None and card.endswith((".yml", ".yaml"))
