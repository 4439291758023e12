"""What `penguinmails run` prints at the end: what came in, what it became, what it means, and where to look next.

Belongs here: the words and tables of the summary. Does not belong here: computing anything; the tiers' statistics do.
"""

from __future__ import annotations
