"""One file per tier: the checks of that tier. A failing check says how many, which, and what to do."""
