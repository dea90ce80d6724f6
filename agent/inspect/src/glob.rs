//! Path patterns: `*` and `?` inside one component, expanded over a [`Host`](crate::Host).
