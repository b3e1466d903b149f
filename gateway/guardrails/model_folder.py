"""What can be said of a model's folder without loading it, so that a policy with a wrong one is refused at once."""

from __future__ import annotations

from pathlib import Path

import msgspec

_LARGEST = 4 * 1024 * 1024


def labels_of(path: str) -> list[str]:
    """The labels of the classification model in a folder, in order. Raises ValueError that says what is missing."""
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"there is no folder '{path}'")
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ValueError(f"'{path}' has no {name}")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"'{path}' has no safetensors weights")
    file = folder / "config.json"
    try:
        config = msgspec.json.decode(file.read_bytes()) if file.stat().st_size <= _LARGEST else None
    except (OSError, msgspec.MsgspecError):
        config = None
    if not isinstance(config, dict):
        raise ValueError(f"the config.json of '{path}' cannot be read")  # noqa: TRY004 - a file, not a caller
    names = config.get("id2label")
    if not isinstance(names, dict) or not names:  # the library's own names for a head that has none
        return ["LABEL_0", "LABEL_1"]
    return [str(names[index]) for index in sorted(names, key=lambda one: (len(str(one)), str(one)))]


def check_label(path: str, label: str) -> None:
    """Raises ValueError unless the model in ``path`` knows ``label``."""
    known = labels_of(path)
    if label not in known:
        raise ValueError(f"the model in '{path}' has no label '{label}'; it has {', '.join(known[:20])}")


def sorter_spec(path: str) -> dict[str, str]:
    """What the process of the guard models is asked to load."""
    return {"kind": "sorter", "path": str(Path(path).resolve())}
