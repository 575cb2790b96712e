"""The registry: every stage, one line each, in the order in which a report shows them."""

from ci_mlops.stage import Stage
from ci_mlops.stages.behaviour import BehaviourStage
from ci_mlops.stages.data import DataStage
from ci_mlops.stages.explain import ExplainStage
from ci_mlops.stages.image import ImageStage
from ci_mlops.stages.latency import LatencyStage
from ci_mlops.stages.model import ModelStage
from ci_mlops.stages.policy import PolicyStage
from ci_mlops.stages.serving import ServingStage

STAGES: tuple[type[Stage], ...] = (
    DataStage,
    ModelStage,
    BehaviourStage,
    ExplainStage,
    PolicyStage,
    LatencyStage,
    ServingStage,
    ImageStage,
)
