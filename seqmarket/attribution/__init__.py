"""What each touch contributed, by rules, chains, games, regressions and the deep model."""
