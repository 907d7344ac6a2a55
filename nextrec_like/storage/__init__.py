"""Files that survive a crash, and reading that trusts no file."""
