//! Whether a certificate leads to the authority that its consumer names.
//!
//! What is proven: the issuer's *name* and, where both certificates carry one, its *key identifier*
//! are those of a certificate in the named bundle, directly or over intermediates of the same file.
//! That tells a re-created authority of the same name from the real one. What is not proven: the
//! signature, since this crate holds no public-key cryptography; so nothing here says `verified`.
//! Where only names match, the answer is unknown.

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::certificates::Chain;

use super::x509::Identity;

/// Intermediates that are followed; real chains have one or two.
const MAX_STEPS: usize = 8;

/// An authority that a consumer names.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// The path of its bundle.
    pub path: &'a str,
    /// What the bundle holds, or why that is not known.
    pub bundle: Result<&'a [Identity], &'a Why>,
}

/// How the key identifiers of a certificate and a possible issuer relate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tie {
    /// One of them has none.
    NameOnly,
    Different,
    Equal,
}

/// Judges `certificate`, which shares its file with `own`.
#[must_use]
pub fn judge(
    certificate: &Identity,
    own: &[Identity],
    authority: Option<Authority<'_>>,
) -> Reading<Chain> {
    const NAMES: Origin = Origin::words("names and key identifiers");
    if signs_itself(certificate) {
        return Reading::known(Chain::SelfSigned, NAMES);
    }
    let Some(authority) = authority else {
        return Reading::absent(Origin::words("no authority is named"));
    };
    let origin = Origin::path(authority.path);
    let bundle = match authority.bundle {
        Ok(bundle) => bundle,
        Err(why) => return Reading::unknown(why.clone(), origin),
    };
    let mut current = certificate;
    let mut renamed = false;
    for _ in 0..MAX_STEPS {
        let mut by_name = false;
        for issuer in issuers(current, bundle) {
            match tie(current, issuer) {
                Tie::Equal => return Reading::known(Chain::KeyIdMatches, origin),
                Tie::NameOnly => by_name = true,
                Tie::Different => renamed = true,
            }
        }
        if by_name {
            let detail = "the issuer's name matches; without key identifiers on both sides no more \
                          can be told";
            return Reading::unknown(Why::new(WhyKind::Unsupported, detail), origin);
        }
        let above = issuers(current, own)
            .find(|issuer| tie(current, issuer) != Tie::Different && !signs_itself(issuer));
        let Some(above) = above else { break };
        current = above;
    }
    let verdict = if renamed {
        Chain::WrongKey
    } else if ends_in(own, certificate) {
        Chain::SelfSigned
    } else {
        Chain::UnknownIssuer
    };
    Reading::known(verdict, origin)
}

/// Whether a certificate is its own issuer, as far as names and key identifiers tell.
fn signs_itself(certificate: &Identity) -> bool {
    certificate.subject == certificate.issuer && tie(certificate, certificate) != Tie::Different
}

/// Whether the chain from `certificate` ends at a certificate of `own` that signs itself.
fn ends_in(own: &[Identity], certificate: &Identity) -> bool {
    let mut current = certificate;
    for _ in 0..MAX_STEPS {
        let Some(above) =
            issuers(current, own).find(|issuer| tie(current, issuer) != Tie::Different)
        else {
            return false;
        };
        if signs_itself(above) {
            return true;
        }
        current = above;
    }
    false
}

fn issuers<'a>(of: &Identity, among: &'a [Identity]) -> impl Iterator<Item = &'a Identity> {
    among.iter().filter(|issuer| issuer.subject == of.issuer)
}

fn tie(certificate: &Identity, issuer: &Identity) -> Tie {
    match (&certificate.issuer_key_id, &issuer.key_id) {
        (Some(one), Some(other)) if one == other => Tie::Equal,
        (Some(_), Some(_)) => Tie::Different,
        (None, _) | (_, None) => Tie::NameOnly,
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn identity(subject: &str, issuer: &str, key: Option<u8>, issuer_key: Option<u8>) -> Identity {
        Identity {
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            key_id: key.map(|id| vec![id]),
            issuer_key_id: issuer_key.map(|id| vec![id]),
        }
    }

    fn judged(leaf: &Identity, own: &[Identity], bundle: &[Identity]) -> Option<Chain> {
        let authority = Authority { path: "/ca", bundle: Ok(bundle) };
        judge(leaf, own, Some(authority)).value().copied()
    }

    #[test]
    fn names_alone_prove_nothing() {
        let root = identity("CN=r", "CN=r", Some(1), None);
        let leaf = identity("CN=l", "CN=r", None, Some(1));
        let none = identity("CN=l", "CN=r", None, None);
        let other = identity("CN=l", "CN=r", None, Some(2));
        let stranger = identity("CN=l", "CN=x", None, Some(1));
        let bundle = [root.clone()];
        assert_eq!(judged(&leaf, &[], &bundle), Some(Chain::KeyIdMatches));
        assert_eq!(judged(&none, &[], &bundle), None);
        assert_eq!(judged(&other, &[], &bundle), Some(Chain::WrongKey));
        assert_eq!(judged(&stranger, &[], &bundle), Some(Chain::UnknownIssuer));
        assert_eq!(judged(&root, &[], &[]), Some(Chain::SelfSigned));
    }

    #[test]
    fn intermediates_of_the_same_file_are_followed_and_loops_end() {
        let root = identity("CN=r", "CN=r", Some(1), None);
        let middle = identity("CN=m", "CN=r", Some(2), Some(1));
        let leaf = identity("CN=l", "CN=m", None, Some(2));
        assert_eq!(judged(&leaf, from_ref(&middle), from_ref(&root)), Some(Chain::KeyIdMatches));
        assert_eq!(judged(&leaf, &[], from_ref(&root)), Some(Chain::UnknownIssuer));
        let one = identity("CN=a", "CN=b", None, None);
        let two = identity("CN=b", "CN=a", None, None);
        let circle = [one.clone(), two];
        assert_eq!(judged(&one, &circle, from_ref(&root)), Some(Chain::UnknownIssuer));
        assert_eq!(judge(&one, &circle, None).value(), None);
        let whole = [middle, root];
        assert_eq!(judge(&leaf, &whole, None).value(), None);
        assert_eq!(judged(&leaf, &whole, &[]), Some(Chain::SelfSigned));
    }

    #[test]
    fn an_unreadable_bundle_is_unknown() {
        let leaf = identity("CN=l", "CN=r", None, Some(1));
        let why = Why::new(WhyKind::PermissionDenied, "no");
        let authority = Authority { path: "/ca", bundle: Err(&why) };
        assert!(matches!(judge(&leaf, &[], Some(authority)), Reading::Unknown { .. }));
    }
}
