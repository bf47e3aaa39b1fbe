"""A structural model of journeys, whose causal effects are known because it can be run again."""
