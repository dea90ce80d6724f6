//! The one printer of error chains, for logs and for `main`.

use std::error::Error;
use std::fmt;

/// An error followed by its causes, separated by `: `.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn Error);

/// Causes that are printed; more would be a cycle.
const MAX_CAUSES: usize = 16;

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        for _ in 0..MAX_CAUSES {
            let Some(error) = cause else { break };
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
