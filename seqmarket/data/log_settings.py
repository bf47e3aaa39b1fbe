"""What shapes a validated log beside its source: what is checked, mended and admitted."""

from __future__ import annotations

from pydantic import Field

from seqmarket.data.cleaning.settings import CleaningRule
from seqmarket.data.gate.settings import IdentitySettings, PrivacySettings
from seqmarket.data.settings import Settings, ValidationSettings


class LogSettings(Settings):
    """How a log is read.

    Attributes:
        validation: What happens to rows that break a rule.
        cleaning: What is mended or left out, in order.
        identity: Which identifiers are the same customer.
        privacy: What customers' data must fulfil before anything is stored.
    """

    validation: ValidationSettings = ValidationSettings()
    cleaning: tuple[CleaningRule, ...] = Field(default=())
    identity: IdentitySettings = IdentitySettings()
    privacy: PrivacySettings = PrivacySettings()
