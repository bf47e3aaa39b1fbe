"""seqmarket: deep sequence modelling of cross-channel customer journeys."""

__version__ = "0.1.0"
