"""Errors a user can act on. The command line prints their message without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do."""


class DataError(UserError):
    """A file or row that cannot be read as the data it should be."""


class RecipeError(UserError):
    """A recipe that cannot be run as written."""


class ModelError(UserError):
    """A model or checkpoint that cannot be loaded or may not be used."""


class NumericsError(UserError):
    """A loss or gradient that is not finite. Names the step, the rows and where the batch was written."""


class Interrupted(UserError):
    """The user asked to stop; the state was saved and the message says how to go on."""


class LabellingError(UserError):
    """A labelling project that cannot be used as it is, or an answer that cannot be taken."""


class EndpointError(UserError):
    """A model server that gives no usable answer. Answers that were paid for are kept; running again goes on."""


class SpendingCapError(EndpointError):
    """The next call might pass the cap on spending. What was paid is kept; with a higher cap, running again goes on."""
