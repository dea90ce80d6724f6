//! Standalone: files of tokens, and nobody.

use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use super::*;
use crate::http::route::ROUTES;

const AGENT: &str = "agent-token-0123456789";
const VIEWER: &str = "viewer-token-0123456789";
const OPERATOR: &str = "operator-token-0123456789";

fn auth(reach: Reach) -> Auth {
    let tokens = Tokens(vec![
        (Role::Agent, Digest::of(AGENT.as_bytes())),
        (Role::Viewer, Digest::of(VIEWER.as_bytes())),
        (Role::Operator, Digest::of(OPERATOR.as_bytes())),
    ]);
    Auth::new(Some(tokens), reach, &Limits::default())
}

fn admit(
    auth: &Auth,
    audience: Audience,
    field: Option<&str>,
    address: [u8; 4],
) -> Result<Caller, Denied> {
    let route = ROUTES.into_iter().find(|route| route.audience == audience).unwrap();
    let matched = Matched { route, parameter: "worker-1".to_owned(), detail: String::new() };
    let field = field.map_or(Authorization::None, |it| Authorization::One(it.as_bytes()));
    let admitting = auth.admit(&matched, field, address.into(), Instant::now());
    // Standalone nobody is waited for.
    let admitted = std::pin::pin!(admitting).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(admitted) = admitted else { panic!("somebody was waited for") };
    admitted.map_err(|refusal| refusal.denied)
}

fn ask(auth: &Auth, audience: Audience, token: &str) -> Result<Caller, Denied> {
    admit(auth, audience, Some(&format!("Bearer {token}")), [10, 0, 0, 1])
}

#[test]
fn each_role_may_do_its_own_and_no_more() {
    let auth = auth(Reach::Network);
    for (audience, allowed) in [
        (Audience::Agents, &[AGENT][..]),
        (Audience::Viewers, &[VIEWER, OPERATOR]),
        (Audience::ViewersUnlessLoopback, &[VIEWER, OPERATOR]),
        (Audience::Operators, &[OPERATOR]),
    ] {
        for token in [AGENT, VIEWER, OPERATOR] {
            let got = ask(&auth, audience, token);
            assert_eq!(got.is_ok(), allowed.contains(&token), "{audience:?} {token} {got:?}");
            assert!(got.is_ok() || matches!(got, Err(Denied::Role(_))), "{got:?}");
        }
    }
    assert_eq!(admit(&auth, Audience::Anybody, None, [10, 0, 0, 1]), Ok(Caller::Anybody));
}

#[test]
fn only_a_bearer_token_is_one() {
    let auth = auth(Reach::Network);
    let long = format!("Basic {VIEWER}");
    for field in [None, Some(""), Some("Bearer "), Some("Bearer"), Some(VIEWER), Some(&*long)] {
        let got = admit(&auth, Audience::Viewers, field, [10, 0, 0, 1]);
        assert!(matches!(got, Err(Denied::Missing)), "{field:?} {got:?}");
    }
}

#[test]
fn wrong_tokens_are_slowed_down_and_right_ones_are_not() {
    let auth = auth(Reach::Network);
    for _ in 0..WRONG_BURST {
        assert_eq!(ask(&auth, Audience::Viewers, "guess"), Err(Denied::Wrong));
    }
    assert!(matches!(ask(&auth, Audience::Viewers, "guess"), Err(Denied::TooMany { .. })));
    assert!(ask(&auth, Audience::Viewers, VIEWER).is_ok());
}

#[test]
fn figures_are_public_on_loopback_only() {
    let ask = |reach| admit(&auth(reach), Audience::ViewersUnlessLoopback, None, [127, 0, 0, 1]);
    assert_eq!(ask(Reach::Loopback), Ok(Caller::Anybody));
    assert_eq!(ask(Reach::Network), Err(Denied::Missing));
}

#[test]
fn a_replaced_token_no_longer_works() {
    let auth = auth(Reach::Network);
    let newer = Tokens(vec![(Role::Viewer, Digest::of(b"another-token-01234"))]);
    assert!(auth.replace(newer.clone()));
    assert!(!auth.replace(newer));
    assert_eq!(ask(&auth, Audience::Viewers, VIEWER), Err(Denied::Wrong));
    assert!(ask(&auth, Audience::Viewers, "another-token-01234").is_ok());
}

#[test]
fn whoever_says_twice_who_they_are_is_nobody() {
    let auth = auth(Reach::Network);
    let route = ROUTES.into_iter().find(|route| route.audience == Audience::Viewers).unwrap();
    let matched = Matched { route, parameter: String::new(), detail: String::new() };
    let several = Authorization::Several;
    let admitting = auth.admit(&matched, several, [10, 0, 0, 1].into(), Instant::now());
    let admitted = std::pin::pin!(admitting).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(admitted, Poll::Ready(Err(Refusal { denied: Denied::Several, .. }))));
}
