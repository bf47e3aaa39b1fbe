"""The data quality report: what is counted while a log streams by, and how it is shown.

`columns` counts the rows as they are read, `journeys` the shards as they are arranged; both add up
over any division of the log. `profile` makes numbers to show of them, without what few customers
have in common; `suspicions` says what is odd about them; `report` is all of it together, shown by
`terminal` and `page`.
"""

from seqmarket.data.quality.profile import LogProfile
from seqmarket.data.quality.report import QualityReport
from seqmarket.data.quality.suspicions import suspicions
from seqmarket.data.quality.terminal import render

__all__ = ["LogProfile", "QualityReport", "render", "suspicions"]
