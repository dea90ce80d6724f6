//! Version order: kernel releases and package versions, never as text.
//!
//! Three orders, all total: [`release`] for `uname -r`, [`dpkg`] for deb-version(7), [`rpm`] for
//! rpm-version(7). None of them refuses a version: hostile text gets some place, always the same.
//!
//! ```text
//! 6.1.0-9-amd64 < 6.1.0-50-amd64          text order says the opposite
//! └── numbers ──┘ └ flavour ┘             only the same flavour replaces a kernel
//! ```

use std::cmp::Ordering;

/// Architectures that end a kernel release of the RPM world.
const ARCHITECTURES: [&str; 8] =
    ["aarch64", "armv7hl", "i686", "loongarch64", "ppc64le", "riscv64", "s390x", "x86_64"];

/// Compares two kernel releases, oldest first.
///
/// Numbers compare as numbers, above words; a release candidate (`-rc7`) comes before its release.
/// Releases that differ only in how they are punctuated compare as bytes, so that equal means same.
#[must_use]
pub fn release(a: &str, b: &str) -> Ordering {
    tokens(a.as_bytes(), b.as_bytes(), Dialect::Release).then_with(|| a.cmp(b))
}

/// The flavour of a kernel release: what tells `-generic` from `-aws`, and nothing of the version.
///
/// Shape: the trailing words of the release joined by `-`, empty if there are none:
/// `6.1.0-50-cloud-amd64` has `cloud-amd64`, `5.14.0-427.el9.x86_64+rt` has `rt`,
/// `5.15.0-200.el9uek.x86_64` has `uek`.
#[must_use]
pub fn flavour(release: &str) -> String {
    let (base, variant) = split_rpm_architecture(release);
    if base.len() < release.len() {
        let mut words: Vec<&str> = base.split(['.', '_', '-']).filter_map(rpm_flavour).collect();
        words.extend(variant);
        return words.join("-");
    }
    let mut words: Vec<&str> = Vec::new();
    for word in release.split('-').skip(1).collect::<Vec<_>>().into_iter().rev() {
        if !word.starts_with(|first: char| first.is_ascii_alphabetic()) || is_candidate(word) {
            break;
        }
        words.push(word);
    }
    words.reverse();
    words.join("-")
}

/// The release without its RPM architecture, and the variant that follows the architecture.
fn split_rpm_architecture(release: &str) -> (&str, Option<&str>) {
    for architecture in ARCHITECTURES {
        let Some((base, after)) = release.rsplit_once(architecture) else { continue };
        let Some(base) = base.strip_suffix('.') else { continue };
        match after.strip_prefix(['+', '.']) {
            Some(variant) => return (base, Some(variant)),
            None if after.is_empty() => return (base, None),
            None => {}
        }
    }
    (release, None)
}

/// The flavour that a part of an RPM kernel's version names: `el9uek`, `rt7`.
fn rpm_flavour(part: &str) -> Option<&str> {
    if let Some(after) = part.strip_prefix("el") {
        let word = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
        return (!word.is_empty()).then_some(word);
    }
    let number = part.strip_prefix("rt")?;
    (!number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())).then_some("rt")
}

/// Whether a word is `rc` and a number.
fn is_candidate(word: &str) -> bool {
    word.strip_prefix("rc")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// Compares two versions of Debian packages, `[EPOCH:]UPSTREAM[-REVISION]`, as deb-version(7).
///
/// `1.0` and `1.00` are equal; so are `1.0` and `0:1.0-0`.
#[must_use]
pub fn dpkg(a: &str, b: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = split_dpkg(a);
    let (epoch_b, upstream_b, revision_b) = split_dpkg(b);
    numbers(epoch_a, epoch_b)
        .then_with(|| dpkg_part(upstream_a, upstream_b))
        .then_with(|| dpkg_part(revision_a, revision_b))
}

fn split_dpkg(version: &str) -> (&[u8], &[u8], &[u8]) {
    let (epoch, rest) = split_epoch(version);
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream.as_bytes(), revision.as_bytes())
}

/// The epoch (empty, which counts as 0, if there is none) and what follows it.
fn split_epoch(version: &str) -> (&[u8], &str) {
    match version.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|digit| digit.is_ascii_digit()) => {
            (epoch.as_bytes(), rest)
        }
        Some(_) | None => (b"", version),
    }
}

/// Alternates between a run of other characters and a run of digits until they differ.
fn dpkg_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = run(a, |byte| !byte.is_ascii_digit());
        let (text_b, rest_b) = run(b, |byte| !byte.is_ascii_digit());
        // The end of the text weighs more than `~` and less than everything else.
        let weigh = |text: &[u8], at: usize| text.get(at).map_or(1, |byte| dpkg_weight(*byte));
        for at in 0..text_a.len().max(text_b.len()) {
            match weigh(text_a, at).cmp(&weigh(text_b, at)) {
                Ordering::Equal => {}
                different @ (Ordering::Less | Ordering::Greater) => return different,
            }
        }
        let (number_a, after_a) = run(rest_a, |byte| byte.is_ascii_digit());
        let (number_b, after_b) = run(rest_b, |byte| byte.is_ascii_digit());
        match numbers(number_a, number_b) {
            Ordering::Equal => {}
            different @ (Ordering::Less | Ordering::Greater) => return different,
        }
        (a, b) = (after_a, after_b);
    }
    Ordering::Equal
}

/// `~` before the end, letters before everything else.
fn dpkg_weight(byte: u8) -> u16 {
    match byte {
        b'~' => 0,
        letter if letter.is_ascii_alphabetic() => u16::from(letter),
        other => u16::from(other) + 256,
    }
}

/// Compares two RPM versions, `[EPOCH:]VERSION[-RELEASE]`, as rpm-version(7).
///
/// Punctuation separates and does not count: `1.0` and `1_0` are equal.
#[must_use]
pub fn rpm(a: &str, b: &str) -> Ordering {
    let (epoch_a, rest_a) = split_epoch(a);
    let (epoch_b, rest_b) = split_epoch(b);
    let (version_a, release_a) = rest_a.rsplit_once('-').unwrap_or((rest_a, ""));
    let (version_b, release_b) = rest_b.rsplit_once('-').unwrap_or((rest_b, ""));
    numbers(epoch_a, epoch_b)
        .then_with(|| tokens(version_a.as_bytes(), version_b.as_bytes(), Dialect::Rpm))
        .then_with(|| tokens(release_a.as_bytes(), release_b.as_bytes(), Dialect::Rpm))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Release,
    Rpm,
}

/// A piece of a version; the order of the variants is their order in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Token<'a> {
    /// `~`: before the release.
    Tilde,
    /// `rc`: a release candidate.
    Candidate,
    /// Nothing is left.
    End,
    /// `^`: after the release.
    Caret,
    /// Letters, as bytes.
    Word(&'a [u8]),
    /// Digits without leading zeros: the longer is the larger.
    Number(usize, &'a [u8]),
}

/// Compares token by token until they differ or both end.
fn tokens(mut a: &[u8], mut b: &[u8], dialect: Dialect) -> Ordering {
    loop {
        let (token_a, rest_a) = token(a, dialect);
        let (token_b, rest_b) = token(b, dialect);
        match token_a.cmp(&token_b) {
            Ordering::Equal if token_a == Token::End => return Ordering::Equal,
            Ordering::Equal => (a, b) = (rest_a, rest_b),
            different @ (Ordering::Less | Ordering::Greater) => return different,
        }
    }
}

fn token(text: &[u8], dialect: Dialect) -> (Token<'_>, &[u8]) {
    let (_, text) = run(text, |byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'~' | b'^'));
    match text.split_first() {
        None => (Token::End, text),
        Some((b'~', rest)) => (Token::Tilde, rest),
        Some((b'^', rest)) => (Token::Caret, rest),
        Some((first, _)) if first.is_ascii_digit() => {
            let (digits, rest) = run(text, |byte| byte.is_ascii_digit());
            let digits = without_zeros(digits);
            (Token::Number(digits.len(), digits), rest)
        }
        Some(_) => match run(text, |byte| byte.is_ascii_alphabetic()) {
            (b"rc", rest) if dialect == Dialect::Release => (Token::Candidate, rest),
            (word, rest) => (Token::Word(word), rest),
        },
    }
}

/// Splits off the leading bytes that `wanted` accepts.
fn run(text: &[u8], wanted: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !wanted(*byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, b""))
}

/// Compares digits as a number of any length; none count as zero.
fn numbers(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (without_zeros(a), without_zeros(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    run(digits, |byte| byte == b'0').1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ascending(order: fn(&str, &str) -> Ordering, versions: &[&str]) {
        for (at, a) in versions.iter().enumerate() {
            for (other, b) in versions.iter().enumerate() {
                assert_eq!(order(a, b), at.cmp(&other), "{a} and {b}");
            }
        }
    }

    #[test]
    fn kernel_releases_sort_by_number() {
        ascending(
            release,
            &["6.1.0-9-amd64", "6.1.0-50-amd64", "6.10-rc7-amd64", "6.10-amd64", "6.10.6-amd64"],
        );
        ascending(
            release,
            &["5.14.0-70.el9.x86_64", "5.14.0-427.el9.x86_64", "5.14.0-427.13.1.el9_4.x86_64"],
        );
        ascending(release, &["5.15.0-1053-aws", "6.8.0-9-generic", "6.8.0-45-generic"]);
        ascending(release, &["6.4.0-150600.23.7-default", "6.4.0-150600.23.17-default"]);
    }

    #[test]
    fn a_flavour_is_what_follows_the_version() {
        for (release, expected) in [
            ("6.1.0-50-amd64", "amd64"),
            ("6.12.43+deb13-cloud-amd64", "cloud-amd64"),
            ("6.8.0-45-generic", "generic"),
            ("5.15.0-1053-azure-fips", "azure-fips"),
            ("6.4.0-150600.23.17-default", "default"),
            ("5.14.0-427.13.1.el9_4.x86_64", ""),
            ("5.14.0-427.13.1.el9_4.x86_64+rt", "rt"),
            ("4.18.0-553.rt7.342.el8.x86_64", "rt"),
            ("5.15.0-200.131.27.el9uek.x86_64", "uek"),
            ("3.10.0-1160.el7.x86_64.debug", "debug"),
            ("6.1.94-99.176.amzn2023.aarch64", ""),
            ("6.10-rc7-amd64", "amd64"),
            ("6.10-rc7", ""),
            ("6.9.7-arch1-1", ""),
            ("6.6.52-flatcar", "flatcar"),
            ("", ""),
        ] {
            assert_eq!(flavour(release), expected, "{release}");
        }
    }

    #[test]
    fn dpkg_versions_sort_as_deb_version_says() {
        ascending(dpkg, &["1.0~~", "1.0~~a", "1.0~", "1.0", "1.0a", "1.0+b1", "1.0.1"]);
        ascending(dpkg, &["2.36-9+deb12u3", "2.36-9+deb12u10", "2.37-1", "1:0.1-1"]);
        assert_eq!(dpkg("1.0", "0:1.00-0"), Ordering::Equal);
    }

    #[test]
    fn rpm_versions_sort_as_rpm_version_says() {
        ascending(rpm, &["1.0~rc1", "1.0", "1.0^git1", "1.0a", "1.0.1", "1.10", "1:0.9"]);
        ascending(rpm, &["2.34-60.el9", "2.34-100.el9_4.2", "2.35-1.el9"]);
        assert_eq!(rpm("1.0", "1_0"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn every_order_is_total(
            a in "[-0-9a-cr~^.:+_]{0,9}", b in "[-0-9a-cr~^.:+_]{0,9}", c in "[-0-9a-cr~^.:+_]{0,9}"
        ) {
            for order in [release, dpkg, rpm] {
                prop_assert_eq!(order(&a, &a), Ordering::Equal);
                prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
                if order(&a, &b).is_le() && order(&b, &c).is_le() {
                    prop_assert!(order(&a, &c).is_le());
                    if order(&a, &b).is_eq() {
                        prop_assert_eq!(order(&a, &c), order(&b, &c));
                    }
                }
            }
            prop_assert_eq!(release(&a, &b).is_eq(), a == b);
        }

        #[test]
        fn any_text_has_a_flavour_and_a_place(a in ".{0,40}", b in ".{0,40}") {
            prop_assert!(flavour(&a).len() <= a.len());
            prop_assert_eq!(release(&a, &b), release(&b, &a).reverse());
            prop_assert_eq!(dpkg(&a, &b), dpkg(&b, &a).reverse());
            prop_assert_eq!(rpm(&a, &b), rpm(&b, &a).reverse());
        }
    }
}
