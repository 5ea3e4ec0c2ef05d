"""The one exception that stands for a mistake of the user's, not of the program's."""


class UserError(ValueError):
    """Bad input, bad usage or a bad file.

    The message is a single line that names the file and place, what is wrong and what to do about
    it. The command line prints it and exits with code 2; no traceback is shown.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
