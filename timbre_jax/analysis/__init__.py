"""Analysis of timbre spaces: functions of a space and arrays that return records."""
