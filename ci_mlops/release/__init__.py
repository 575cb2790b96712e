"""What is live, and how it came to be: the ledger and the verbs that write and read it."""
