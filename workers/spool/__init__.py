"""The spool: a worker's own disk, where paid results lie while storage is away.

<folder>/id             which disk this is; the ledger knows a kept job by it
<folder>/kept/<name>/   one result as it was delivered, and `about.json`; there at once, whole, or not at all
<folder>/notes/         receipts that Redis could not be told
<folder>/damaged/       what came back from the disk as something else; left to a person
<folder>/users/         a file for each process that works here: who it is, what it has reserved, locked while it lives
<folder>/coming/        half-written; of no meaning once its process has ended
"""
