"""`convarium sweep ...`: one file a verb."""
