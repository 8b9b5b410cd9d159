"""The report on a ledger of claims."""
