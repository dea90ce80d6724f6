//! Whole inspections on hosts in memory.
