//! How many nodes: a number, or a share of those that exist.

use std::fmt;

use serde::Serialize;
use serde::Serializer;

/// A number of nodes. Shape: `3`, or `25%` (0 to 100).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Amount {
    /// So many; 0 stops everything.
    Count(u32),
    /// So many of a hundred of the nodes that exist; 0 stops everything.
    Percent(u8),
}

impl Amount {
    /// How many that is of `nodes`: a share is rounded down, but is at least one, because a small
    /// pool would else never be served. An explicit 0 stays 0.
    #[must_use]
    pub fn of(self, nodes: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(0) => 0,
            Self::Percent(percent) => {
                let hundredths = nodes.saturating_mul(usize::from(percent));
                (hundredths / 100).max(1)
            }
        }
    }

    /// Whether it stops everything.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        matches!(self, Self::Count(0) | Self::Percent(0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// As it is written: a number, or text with a percent sign.
impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_but_is_one_at_least_and_zero_stays_zero() {
        for (amount, nodes, expected) in [
            (Amount::Percent(25), 5, 1),
            (Amount::Percent(25), 3, 1),
            (Amount::Percent(25), 11, 2),
            (Amount::Percent(10), 5_000, 500),
            (Amount::Percent(100), 7, 7),
            (Amount::Percent(0), 7, 0),
            (Amount::Percent(1), 0, 1),
            (Amount::Count(3), 1, 3),
            (Amount::Count(0), 100, 0),
        ] {
            assert_eq!(amount.of(nodes), expected, "{amount} of {nodes}");
        }
    }
}
