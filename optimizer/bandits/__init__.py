"""Bandits: which candidate has earned its calls. Values in, values out; the state sits behind one protocol."""

from optimizer.bandits.arms import Arm, shares
from optimizer.bandits.reward import Outcome, Reward, reward
from optimizer.bandits.state import BanditState, MemoryBanditState

__all__ = ["Arm", "BanditState", "MemoryBanditState", "Outcome", "Reward", "reward", "shares"]
