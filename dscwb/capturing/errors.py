"""What every room of capturing raises."""


class CaptureError(RuntimeError):
    """A model that cannot be captured: says why and what to do."""
