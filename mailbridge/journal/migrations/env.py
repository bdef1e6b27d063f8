"""Alembic's entry: run the migrations on the connection the journal hands over."""

from alembic import context

# Named here so that their tables are known: they stand beside their repositories.
from mailbridge.journal.acknowledgements import AcknowledgementRow as AcknowledgementRow
from mailbridge.journal.tables import Base
from mailbridge.journal.unreadable import UnreadableRow as UnreadableRow

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
