"""Alembic's entry: run the migrations on the connection the journal hands over."""

from alembic import context

# Named here so that its table is known: it stands beside its repository.
from mailbridge.journal.acknowledgements import AcknowledgementRow as AcknowledgementRow
from mailbridge.journal.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
