//! The gate of identity and rates: who asks, may they, not too often; and how it is said if not.
//!
//! ```text
//! route, head ──> local only? ──> Auth ──> rate ──> Caller
//!                                  └─ no ──> log, figures, audit ──> reply
//! ```
//!
//! Who somebody is and what they may is decided in `auth`; here is what HTTP has to do with it.

use std::net::IpAddr;
use std::time::Instant;

use hyper::header;
use hyper::header::HeaderMap;
use palisade_report::NodeName;

use super::limits::LocalRates;
use super::limits::source;
use super::query::Plus;
use super::query::decode;
use super::route::Audience;
use super::route::Matched;
use super::route::RouteName;
use super::server::Shared;
use crate::api::answer::Kind;
use crate::api::answer::Refused;
use crate::auth::Authorization;
use crate::auth::Caller;
use crate::auth::Denied;
use crate::auth::Refusal;
use crate::kube::review::Unfit;

/// Whether the request may be made at all: by this name, by this peer, at this rate.
pub(super) async fn admit(
    shared: &Shared,
    matched: &Matched,
    headers: &HeaderMap,
    address: IpAddr,
) -> Result<Caller, Refused> {
    let audience = matched.route.audience;
    if shared.auth.is_open() && audience != Audience::Anybody {
        local_only(headers)?;
    }
    let admitted =
        shared.auth.admit(matched, authorization(headers), address, Instant::now()).await;
    let caller = admitted.map_err(|refusal| turn_away(shared, matched, &refusal, address))?;
    if address.is_loopback() && shared.limits.local_rates == LocalRates::Free {
        return Ok(caller);
    }
    let now = Instant::now();
    let taken = match audience {
        // Uploads are bounded by their number at once, and by the engine for each node.
        Audience::Agents
            if matches!(matched.route.name, RouteName::GrantAnswer | RouteName::Heartbeat) =>
        {
            // By the name that it stands for: an address can be written in many ways. What is no
            // name is refused as such.
            let name = decode(&matched.parameter, Plus::IsItself).ok();
            match name.and_then(|name| name.parse::<NodeName>().ok()) {
                Some(node) => shared.heartbeats.take(&node, now),
                None => Ok(()),
            }
        }
        Audience::Agents | Audience::Anybody => Ok(()),
        Audience::Operators | Audience::Viewers | Audience::ViewersUnlessLoopback => {
            shared.queries.take(&source(address), now)
        }
    };
    taken.map(|()| caller).map_err(|wait| {
        let message = "too many requests; wait as long as retry-after says";
        Refused::new(Kind::TooMany, message).retry_after(wait.as_secs() + 1)
    })
}

fn authorization(headers: &HeaderMap) -> Authorization<'_> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Authorization::None,
        (Some(field), None) => Authorization::One(field.as_bytes()),
        (Some(_), Some(_)) => Authorization::Several,
    }
}

/// Says no: to whoever asked, and in log, figures and audit.
pub(super) fn turn_away(
    shared: &Shared,
    matched: &Matched,
    refusal: &Refusal,
    address: IpAddr,
) -> Refused {
    let Refusal { denied, caller: _, claimed: _ } = refusal;
    let message = denied.to_string();
    if shared.complaints.take(&(), Instant::now()).is_ok() {
        let path = matched.route.path;
        tracing::warn!(%address, path, cause = %message, "somebody was turned away");
    }
    let named =
        decode(&matched.parameter, Plus::IsItself).unwrap_or_else(|_| matched.parameter.clone());
    let object = match matched
        .route
        .path
        .split_once('{')
        .and_then(|(before, rest)| rest.split_once('}').map(|(_, after)| (before, after)))
    {
        Some((before, after)) => format!("{} {before}{named}{after}", matched.route.method),
        None => format!("{} {}", matched.route.method, matched.route.path),
    };
    shared.app.refused(refusal, object, named.parse().ok(), address);
    match denied {
        Denied::Malformed(_) | Denied::Missing | Denied::Several | Denied::Wrong => {
            Refused::new(Kind::Unauthenticated, message)
        }
        Denied::Access { .. } | Denied::Role(_) => Refused::new(Kind::Forbidden, message),
        Denied::BodyOfOtherNode { .. } | Denied::OtherNode { .. } => {
            Refused::new(Kind::IdentityMismatch, message)
        }
        Denied::Silent { retry_after } => {
            Refused::new(Kind::Unavailable, message).retry_after(retry_after.as_secs())
        }
        Denied::TooMany { retry_after } => {
            Refused::new(Kind::TooMany, message).retry_after(retry_after.as_secs() + 1)
        }
        Denied::Unfit(unfit) => {
            let kind = match unfit {
                // A deleted pod's token is nobody's, whether the API server says so already or not.
                Unfit::Audience | Unfit::PodGone | Unfit::Unauthenticated => Kind::Unauthenticated,
                Unfit::NodeReplaced => Kind::IdentityMismatch,
                Unfit::NodeGone | Unfit::NotBound | Unfit::OtherAccount | Unfit::PodElsewhere => {
                    Kind::Forbidden
                }
            };
            Refused::new(kind, message)
        }
    }
}

/// Without tokens, a web page that somebody on this machine looks at must not get through: not by
/// a name that it makes point here, and not by a form.
fn local_only(headers: &HeaderMap) -> Result<(), Refused> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    });
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_local = name.is_empty()
        || name == "localhost"
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !is_local {
        let message = "without tokens, ask by localhost or a loopback address";
        return Err(Refused::new(Kind::WrongHost, message));
    }
    let own_origin = |origin: &[u8]| {
        origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"))
            == Some(host.as_bytes())
    };
    match headers.get(header::ORIGIN) {
        Some(origin) if !own_origin(origin.as_bytes()) => {
            Err(Refused::new(Kind::Forbidden, "without tokens, no other site may ask"))
        }
        Some(_) | None => Ok(()),
    }
}
