"""One file per tier: the assets of that tier. Logic lives in the tier; an asset says when, after what, and what came of it."""
