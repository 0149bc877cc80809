"""The errors a user can mend. Their message is the interface: which key or file, which value, what to do."""


class PneumosegError(Exception):
    """Any mistake in parameters or data; stages and the command print its message without a traceback."""


class ParameterError(PneumosegError):
    """A value of params.yaml that cannot be used: the message names section.key, the value and the fix."""


class DataError(PneumosegError):
    """An input file or folder that cannot be used: the message names the file, what is wrong and the fix."""


class TrainingError(PneumosegError):
    """Training that cannot go on: a loss that is not finite, memory that ran out."""


class TrackingError(PneumosegError):
    """The tracking server or its store cannot be used: the message names its address and the fix."""
