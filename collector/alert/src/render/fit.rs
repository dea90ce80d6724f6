//! Fewer words until it fits.

use super::Size;

/// How much a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Alerts in full.
    pub(super) alerts: usize,
    /// Bytes of each text, escaped.
    pub(super) field: usize,
}

/// Alerts that a message for people has in full; beyond it is a summary (A-11: ten names).
pub(super) const MAX_SHOWN: usize = 10;

/// From all there is to a title and a link.
const LEVELS: [Level; 8] = [
    Level { alerts: MAX_SHOWN, field: 800 },
    Level { alerts: MAX_SHOWN, field: 300 },
    Level { alerts: 5, field: 300 },
    Level { alerts: 5, field: 150 },
    Level { alerts: 3, field: 150 },
    Level { alerts: 1, field: 300 },
    Level { alerts: 1, field: 100 },
    Level { alerts: 0, field: 60 },
];

/// Where [`LEVELS`] start when the receiver has refused more.
const SHRUNK: usize = 4;

/// The first level at which `build` comes out within what the target takes (`Some`).
pub(super) fn fit<T>(size: Size, build: impl FnMut(Level) -> Option<T>) -> Option<T> {
    let skipped = match size {
        Size::Full => 0,
        Size::Shrunk => SHRUNK,
    };
    LEVELS.into_iter().skip(skipped).find_map(build)
}

/// `most` bytes, or a quarter.
pub(super) const fn limit(size: Size, most: usize) -> usize {
    match size {
        Size::Full => most,
        Size::Shrunk => most / 4,
    }
}
