"""What went wrong decides what happens next."""


class StreamError(Exception):
    """The root of all that a stream can raise."""


class Transient(StreamError):
    """The world is away for now: retry with backoff, read nothing meanwhile."""


class Poison(StreamError):
    """This record will never succeed: dead-letter it with this reason and go on."""


class StopTheLine(StreamError):
    """Too much poison to be an accident: end the process and let a person look."""
