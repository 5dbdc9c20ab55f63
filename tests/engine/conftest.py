"""MMSegmentation is imported the way segloss imports it, before any test asks for a part of it."""

import segloss.engine  # noqa: F401
