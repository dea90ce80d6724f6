//! dnf's log of transactions: which core packages were installed after a moment.
//!
//! ```text
//! 2026-05-01T10:00:00+0200 SUBDEBUG Upgrade: glibc-2.34-125.el9.x86_64
//! ```
//!
//! A line is evidence; that there is none proves nothing, because `rpm` alone does not write here.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::bound::clean_text;

/// The log of dnf 4, in RHEL 8 and 9 and their relatives.
pub(super) const LOG: &str = "/var/log/dnf.rpm.log";

/// Packages after whose update needs-restarting(1) asks for a reboot.
const CORE: [&str; 9] = [
    "dbus",
    "dbus-broker",
    "dbus-daemon",
    "glibc",
    "kernel",
    "kernel-core",
    "kernel-rt",
    "linux-firmware",
    "systemd",
];

/// Takes a line of the log: a core package that was installed after `since` goes into `found` with
/// its version and release; a later line replaces an earlier one.
pub fn parse_line(line: &[u8], since: Moment, found: &mut BTreeMap<String, String>) {
    let Ok(line) = str::from_utf8(line) else { return };
    let mut words = line.split_ascii_whitespace();
    let (Some(stamp), Some(_), Some(verb), Some(package)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return;
    };
    // `Upgraded:` names the version that goes.
    if !matches!(verb, "Install:" | "Installed:" | "Upgrade:")
        || parse_stamp(stamp).is_none_or(|at| at <= since)
    {
        return;
    }
    let Some((name, version)) = split_package(package) else { return };
    if CORE.contains(&name) {
        found.insert(name.to_owned(), clean_text(&version));
    }
}

/// The name, and the version with its release, of `glibc-2.34-125.el9.x86_64`.
fn split_package(package: &str) -> Option<(&str, String)> {
    let (package, _architecture) = package.rsplit_once('.')?;
    let (rest, release) = package.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some((name, format!("{version}-{release}")))
}

/// The moment of `2026-05-01T10:00:00+0200`; `Z` stands for no offset.
#[must_use]
pub fn parse_stamp(stamp: &str) -> Option<Moment> {
    let (date, time) = stamp.split_once('T')?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let clock = time.get(..8)?;
    let mut clock = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let offset = match time.get(8..)? {
        "Z" | "" => 0,
        offset => {
            let digits = offset.get(1..)?.replace(':', "");
            let secs = number(digits.get(..2)?)? * 3600 + number(digits.get(2..4)?)? * 60;
            if offset.starts_with('-') { -secs } else { secs }
        }
    };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970, counted in years that start in March so that the leap day comes last.
    let (shifted, of_year) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + (153 * of_year + 2) / 5 + day
            - 719_469;
    Some(Moment::from_unix(days * 86_400 + hour * 3600 + minute * 60 + second - offset))
}

/// A number of at most four digits.
fn number(digits: &str) -> Option<i64> {
    let plain = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stamps_are_read_back_as_moments_show_them() {
        for secs in [0, 951_782_400, 1_796_379_720, 1_709_210_096, 1_740_787_200] {
            let moment = Moment::from_unix(secs);
            assert_eq!(parse_stamp(&moment.to_string()), Some(moment));
        }
        let utc = parse_stamp("2026-05-01T08:00:00+0000");
        assert_eq!(parse_stamp("2026-05-01T10:00:00+0200"), utc);
        assert_eq!(parse_stamp("2026-05-01T04:30:00-03:30"), utc);
        assert_eq!(parse_stamp("2026-13-01T04:30:00Z"), None);
    }

    proptest! {
        #[test]
        fn hostile_lines_never_panic(line in ".{0,60}", tail in "[-+0-9:TZé]{0,20}") {
            let mut found = BTreeMap::new();
            let line = format!("2026-05-01T{tail} x Upgrade: {line}");
            parse_line(line.as_bytes(), Moment::from_unix(0), &mut found);
            prop_assert!(found.keys().all(|name| CORE.contains(&name.as_str())));
            prop_assert!(parse_stamp(&tail).is_none());
        }
    }
}
