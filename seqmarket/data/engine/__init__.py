"""From a raw log of any size to an encoded store, in memory that a setting bounds."""
