//! The table test: every built-in rule is held to its own examples.
