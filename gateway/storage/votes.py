"""What several teachers together said of a captured call: the label it teaches, beside the answer its client got."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.storage.records import VoteRecord
from gateway.storage.rows import storable
from gateway.storage.tables import CAPTURES
from gateway.storage.writing.capture import mask_together


def add_vote(connection: sa.Connection, record: VoteRecord) -> None:
    """A call whose text is gone, or is another project's, is left alone; a later vote takes the earlier one's place."""
    if not record.votes or not record.label:
        return  # a full disk kept the words out
    label = mask_together(record.asked, record.label)[1] if record.mask else record.label
    table = CAPTURES.c
    mine = (
        table.call_id == record.call_id,
        table.project == record.project,
        table.erased_at.is_(None),
    )
    values = storable({"label": label, "label_share": record.share, "votes": record.votes, "judged": record.judged})
    connection.execute(sa.update(CAPTURES).where(*mine).values(**values))
