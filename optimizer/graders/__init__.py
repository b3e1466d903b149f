"""OpenAI's graders: what they may say, what is asked of models, and the score that follows. Values in, values out;
whoever runs one asks the models and the encoder.
"""

from optimizer.graders.asking import question, verdict
from optimizer.graders.checks import Refused, doubts, formula_of, refuse, singles
from optimizer.graders.faults import Fault
from optimizer.graders.kinds import (
    Grader,
    LabelModel,
    ModelGrader,
    Multi,
    ScoreModel,
    Single,
    StringCheck,
    TextSimilarity,
)
from optimizer.graders.outcome import Outcome, combined, failed, report
from optimizer.graders.templates import LONGEST, Scene, scene
from optimizer.graders.texts import compared, filled_pair

__all__ = [
    "LONGEST", "Fault", "Grader", "LabelModel", "ModelGrader", "Multi", "Outcome", "Refused", "Scene", "ScoreModel",
    "Single", "StringCheck", "TextSimilarity", "combined", "compared", "doubts", "failed", "filled_pair", "formula_of",
    "question", "refuse", "report", "scene", "singles", "verdict",
]  # fmt: skip
