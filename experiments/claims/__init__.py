"""What the records say of the papers' empirical claims: holds, fails, or not decided with what is missing."""
