"""What a report says about each property: its fault, and what to do."""

from collections.abc import Mapping

FAULTS: Mapping[str, tuple[str, str]] = {
    "never-raises": (
        "The model raised on {broken} of {tried} rows inside of the domain",
        "Let it answer every row that the data can hold, or narrow `domain`",
    ),
    "right-shape": (
        "The model gave no right form of answer to {broken} of {tried} rows",
        "A model must answer each row once, in order, in one form",
    ),
    "finite": (
        "The model answered NaN or infinity to {broken} of {tried} rows inside of the domain",
        "Look for overflow, division by zero and values that no branch covers",
    ),
    "probabilities": (
        "What the model answered to {broken} of {tried} rows are no probabilities",
        "Keep them between 0 and 1, and let them sum to 1 in each row",
    ),
    "deterministic": (
        "The model answered {broken} of {tried} rows otherwise when asked again at once",
        "Take randomness and dropout out of predictions, or fix their seed in each call",
    ),
    "stateless": (
        "The model answered {broken} of {tried} rows otherwise after it had seen other rows",
        "Keep nothing from one call to the next",
    ),
    "independent-of-batch": (
        "The model answered {broken} of {tried} rows otherwise in another batch",
        "Compute nothing over the rows of a batch: scale with what was learned in training",
    ),
    "independent-of-row-order": (
        "The model answered {broken} of {tried} rows otherwise in another order",
        "Let no row see the one before it, nor its own position",
    ),
    "leaves-input-unchanged": (
        "The model changed the rows that it was given",
        "Work on a copy",
    ),
    "unseen-category": (
        "The model answered NaN or infinity to {broken} of {tried} rows with a category never seen",
        "Map what is not known to a value of its own, or raise",
    ),
    "unseen-null": (
        "The model answered NaN or infinity to {broken} of {tried} rows with an unseen null",
        "Impute it, or raise",
    ),
    "invariant": (
        "Another value of {slice} changes the answer to {broken} of {tried} test rows",
        "Take it out of the features, with what stands for it, or allow a share of flips",
    ),
    "monotone": (
        "The answer to {broken} of {tried} test rows goes the wrong way somewhere as {slice} rises",
        "Give the model a monotonic constraint on it, or look for what is wrong with the column",
    ),
    "cases": (
        "The model answers {broken} of {tried} must-hold cases otherwise",
        "Mend the model, or the cases where they are out of date",
    ),
    "feedback": (
        "The model answers {broken} of {tried} corrections otherwise",
        "Mend the model; take a correction that is wrong itself out by a pull request",
    ),
}
FINE: Mapping[str, str] = {
    "never-raises": "The model answered all {tried} rows.",
    "right-shape": "All {tried} rows had one answer each, in one form.",
    "finite": "All {tried} answers were finite.",
    "probabilities": "All {tried} answers lay between 0 and 1 and summed to 1.",
    "deterministic": "All {tried} rows got the same answer when asked again.",
    "stateless": "All {tried} rows got the same answer after other rows.",
    "independent-of-batch": "All {tried} rows got the same answer alone or in small batches.",
    "independent-of-row-order": "All {tried} rows got the same answer in another order.",
    "leaves-input-unchanged": "The model left all {tried} rows as they were.",
    "unseen-category": "No answer to {tried} rows with a category never seen was NaN.",
    "unseen-null": "No answer to {tried} rows with a null where none was seen was NaN.",
    "invariant": "Other values of {slice} change {broken} of {tried} answers.",
    "monotone": "{broken} of {tried} answers go the wrong way somewhere as {slice} rises.",
    "cases": "{broken} of {tried} cases are answered otherwise.",
    "feedback": "All {tried} corrections hold.",
}
