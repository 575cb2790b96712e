"""One way to data: files and partitioned folders, rows by key, and the contract they keep."""
