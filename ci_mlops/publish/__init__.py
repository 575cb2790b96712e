"""A verdict shown to people: summary, comment, check, SARIF and JUnit."""
