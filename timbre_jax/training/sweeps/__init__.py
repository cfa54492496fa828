"""Many runs in one process."""
