"""`convarium data ...`: one file a verb."""
