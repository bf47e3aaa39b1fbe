"""The gate that customers' identifiers pass in stage 1: who it is, by what right, how long."""
