"""The errors of Retouch, as a tree.

    RetouchError
    - IllegalTransition      a state was asked to change in a way that the table does not have
    - Superseded             somebody else moved the job since we read it; what we hold is old
    - LedgerError            Redis cannot be reached, or refuses
    - StorageError(code)
        - NotFound           nothing lies at the key
        - Refused            the store understood and said no: rights, a bad name, a precondition
            - TooLarge           the object has more bytes than were asked for
            - BadCredentials     whatever is asked for: nobody is let in with these
        - Unavailable        no answer, or one that may be another in a minute

Each class's docstring is its default message, so a bare `raise` still explains itself.
"""

from __future__ import annotations


class RetouchError(Exception):
    """Something went wrong in Retouch."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class IllegalTransition(RetouchError):
    """This state cannot change in this way."""


class Superseded(RetouchError):
    """Somebody else moved this job since it was read."""


class LedgerError(RetouchError):
    """Redis cannot be reached, or refuses: check RETOUCH_REDIS__URL."""


class StorageError(RetouchError):
    """The bucket could not be used."""


class NotFound(StorageError):
    """Nothing lies at this key."""


class Refused(StorageError):
    """The store refuses: check the rights and the name."""


class BadCredentials(Refused):
    """The store does not know these credentials, or they have expired."""


class TooLarge(Refused):
    """This object is larger than what is read."""


class PreconditionFailed(Refused):
    """Something lies at this key already."""


class Unavailable(StorageError):
    """The store does not answer."""
