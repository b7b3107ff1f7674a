"""What can go wrong with the local stack."""


class StackError(RuntimeError):
    """A part of the local stack is missing, did not start or has given up; the message says what to do, or `remedy`."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
