//! From an offer and a heartbeat to a signed grant.

use std::time::Duration;

use palisade_report::Grant;
use palisade_report::NodeUid;
use palisade_report::grant::Action;
use palisade_report::grant::MAX_AHEAD;
use palisade_report::wire::GrantText;

use super::Offer;
use super::key::SigningKey;

/// The grant that this offer becomes with a heartbeat that names `boottime_ms`; `None` if that moment
/// is none. The same offer and heartbeat give the same bytes.
#[must_use]
pub fn issue(
    offer: &Offer,
    node: &NodeUid,
    boottime_ms: u64,
    key: &SigningKey,
) -> Option<GrantText> {
    let Offer { id, request, boot, report, epoch } = offer;
    let grant = Grant {
        action: Action::Reboot,
        key: key.id(),
        id: *id,
        request: *request,
        node: node.clone(),
        boot: boot.clone(),
        report: *report,
        epoch: *epoch,
        not_after: not_after(boottime_ms)?,
    };
    let signature = key.sign(&grant.signed_bytes())?;
    GrantText::of(&grant.encode(&signature)).ok()
}

/// When a grant ends on its node's own clock: a minute after the heartbeat was sent. The reply leaves
/// later than that, so on the collector's clock it is over a minute after the reply.
pub(crate) fn not_after(boottime_ms: u64) -> Option<Duration> {
    Duration::from_millis(boottime_ms)
        .checked_add(MAX_AHEAD)
        .filter(|end| u64::try_from(end.as_millis()).is_ok())
}

#[cfg(test)]
mod tests {
    use palisade_report::Digest;
    use palisade_report::grant::Envelope;
    use palisade_report::grant::GrantId;
    use palisade_report::grant::RequestUid;
    use ring::signature::ED25519;
    use ring::signature::UnparsedPublicKey;

    use super::*;

    #[test]
    fn a_grant_says_what_was_offered_ends_after_a_minute_and_is_signed() {
        let key = SigningKey::generate().unwrap();
        let offer = Offer {
            id: GrantId::from_bytes([1; 16]),
            request: RequestUid::from_bytes([2; 16]),
            boot: "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap(),
            report: Digest::of(b"report"),
            epoch: 7,
        };
        let node: NodeUid = "uid-a".parse().unwrap();
        let text = issue(&offer, &node, 1_000, &key).unwrap();
        let envelope = Envelope::open(text.as_bytes()).unwrap();
        let grant = envelope.grant().unwrap();
        assert_eq!((grant.id, grant.epoch, &grant.node), (offer.id, 7, &node));
        assert_eq!(grant.not_after, Duration::from_millis(61_000));
        let public = UnparsedPublicKey::new(&ED25519, key.public());
        assert!(public.verify(&envelope.signed_bytes(), envelope.signature()).is_ok());
        assert_eq!(issue(&offer, &node, 1_000, &key), Some(text));
        assert_eq!(issue(&offer, &node, u64::MAX, &key), None);
    }
}
