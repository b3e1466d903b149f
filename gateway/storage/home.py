"""The data directory (``UNDERSTUDY_HOME``, default ``.understudy/``): what lies where, and who may read it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gateway.storage.settled import make_folders

_LONGEST_SOCKET = 100  # the kernel's limit for a unix socket path is 108 bytes with its final zero


@dataclass(frozen=True, slots=True)
class Home:
    root: Path

    @classmethod
    def from_env(cls) -> Home:
        return cls(Path(os.environ.get("UNDERSTUDY_HOME", ".understudy")).resolve())

    def prepare(self) -> Home:
        """Creates the folders, readable by their owner alone. Raises OSError when that is impossible."""
        folders = (
            self.files,
            self.evals,
            self.spool,
            self.secrets,
            self.datasets,
            self.artifacts,
            self.certificates,
            self.logs,
        )
        make_folders((self.root, *folders, self.writer_socket.parent))
        return self

    @property
    def database(self) -> Path:
        return self.root / "understudy.db"

    @property
    def database_url(self) -> str:
        """``UNDERSTUDY_DATABASE_URL`` when set, else the embedded SQLite file."""
        return os.environ.get("UNDERSTUDY_DATABASE_URL") or f"sqlite:///{self.database}"

    @property
    def embedded(self) -> bool:
        """Whether the database is the file in this folder."""
        return not os.environ.get("UNDERSTUDY_DATABASE_URL")

    @property
    def backups(self) -> Path:
        """Copies of the SQLite database; made when there is a first."""
        return self.root / "backups"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def files(self) -> Path:
        return self.root / "files"

    @property
    def uploads(self) -> Path:
        """Files that arrive in parts, until they are whole; made when there is a first."""
        return self.root / "uploads"

    def uploads_of(self, project: str) -> Path:
        return self.uploads / self.plain(project)

    @staticmethod
    def plain(project: str) -> str:
        """A project's name as a path may hold it."""
        return hashlib.sha256(project.encode()).hexdigest()[:32]

    @property
    def gone(self) -> Path:
        """Where deleted things stood in lists; made when there is a first."""
        return self.root / "gone"

    @property
    def evals(self) -> Path:
        return self.root / "evals"

    def evals_of(self, project: str) -> Path:
        """Where a project's evals lie: its name may hold what no path may."""
        return self.evals / self.plain(project)

    @property
    def vector_stores(self) -> Path:
        """Files cut into chunks, to be searched; made when there is a first."""
        return self.root / "vector_stores"

    def vector_stores_of(self, project: str) -> Path:
        return self.vector_stores / self.plain(project)

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def discovered(self) -> Path:
        """What discovery found last."""
        return self.root / "discovered.json"

    @property
    def drift(self) -> Path:
        """What the watch over inputs, outputs, latency and cost last saw."""
        return self.root / "drift.json"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def certificates(self) -> Path:
        return self.root / "certificates"

    @property
    def labels(self) -> Path:
        """What people said of judged answers, one file for each student; made when there is a first."""
        return self.root / "labels"

    @property
    def alerts_told(self) -> Path:
        """Which shares of budgets a gateway without Redis has told already."""
        return self.root / "alerts_told.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def writer_socket(self) -> Path:
        return self._socket("writer.sock")

    @property
    def engine_socket(self) -> Path:
        return self._socket("engine.sock")

    @property
    def vllm_socket(self) -> Path:
        return self._socket("vllm.sock")

    @property
    def transformers_socket(self) -> Path:
        return self._socket("transformers.sock")

    @property
    def guards_socket(self) -> Path:
        """Where the process of the guard models answers."""
        return self._socket("guards.sock")

    def _socket(self, name: str) -> Path:
        path = self.root / name
        if len(str(path)) <= _LONGEST_SOCKET:
            return path
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"understudy-{os.getuid()}-{digest}" / name
