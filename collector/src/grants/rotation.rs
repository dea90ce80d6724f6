//! What to do next with the keys that sign grants. Pure; [`crate::kube::grant_keys`] reads and writes.
//!
//! ```text
//! nothing ──MakeFirst──> signing ──Publish──> settled: used
//! due or asked for: MakeNext ─> Publish both ─> settled ─> Switch ─> Publish the new one alone
//! ```
//!
//! A key signs only while the published list has it, and not before the nodes have had time to get
//! that list: a grant with a key that a node does not know yet is refused there, which is safe and
//! costs a drained node minutes.

use palisade_report::Moment;

/// The public half of a key.
pub type Public = [u8; 32];

/// Seconds between publishing a key and using it: the kubelet brings a changed ConfigMap to its pods
/// within one to two minutes.
pub const SETTLE_SECS: i64 = 180;

/// Seconds for which a key signs before the next one follows.
pub const LIFE_SECS: i64 = 90 * 86_400;

/// Seconds by which a noted moment may lie ahead before it is taken for nonsense.
const MAX_AHEAD_SECS: i64 = 300;

/// Everything that a decision rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The key that signs.
    pub signing: Option<Public>,
    /// The one that will.
    pub next: Option<Public>,
    /// Since when `signing` may sign; nodes have had it for [`SETTLE_SECS`] by then.
    pub since: Option<Moment>,
    /// Whether a person asked for a new one.
    pub asked: bool,
    /// The published list; `None`: there is none, or it cannot be read and is not ours.
    pub published: Option<Vec<Public>>,
    /// When it was published, as noted beside it.
    pub published_at: Option<Moment>,
}

/// One step: one write, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Make a key, which may sign from `since` on.
    MakeFirst {
        /// When.
        since: Moment,
    },
    /// Make the key that signs next.
    MakeNext,
    /// Publish this list.
    Publish(Vec<Public>),
    /// Let the next key sign from now on.
    Switch,
    /// Nothing.
    Wait,
}

/// The next step.
pub fn next(state: &State, now: Moment) -> Action {
    let State { signing, next, since, asked, published, published_at } = state;
    let Some(signing) = signing else {
        return Action::MakeFirst { since: now.plus(SETTLE_SECS) };
    };
    let wanted: Vec<Public> = [*signing].into_iter().chain(*next).collect();
    let at = published_at.filter(|at| *at <= now.plus(MAX_AHEAD_SECS));
    let Some(at) = at.filter(|_| published.as_ref() == Some(&wanted)) else {
        return Action::Publish(wanted);
    };
    let is_due = since.is_none_or(|since| now.since(since) >= LIFE_SECS);
    match next {
        Some(_) if now.since(at) >= SETTLE_SECS => Action::Switch,
        None if *asked || is_due => Action::MakeNext,
        Some(_) | None => Action::Wait,
    }
}

/// Whether the signing key may sign: the nodes have been told of it, and have had time to listen.
#[must_use]
pub fn may_sign(state: &State, now: Moment) -> bool {
    let State { signing, next: _, since, asked: _, published, published_at: _ } = state;
    let is_published = signing
        .as_ref()
        .is_some_and(|signing| published.as_ref().is_some_and(|it| it.contains(signing)));
    is_published && since.is_some_and(|since| since <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Moment = Moment::from_unix(1_700_000_000);

    /// Carries out steps until there are none; what was done.
    fn run(state: &mut State, made: &mut u8, now: Moment) -> Vec<&'static str> {
        let mut done = Vec::new();
        for _ in 0..10 {
            match next(state, now) {
                Action::MakeFirst { since } => {
                    *made += 1;
                    (state.signing, state.since) = (Some([*made; 32]), Some(since));
                    done.push("first");
                }
                Action::MakeNext => {
                    *made += 1;
                    (state.next, state.asked) = (Some([*made; 32]), false);
                    done.push("next");
                }
                Action::Publish(keys) => {
                    (state.published, state.published_at) = (Some(keys), Some(now));
                    done.push("publish");
                }
                Action::Switch => {
                    (state.signing, state.since) = (state.next.take(), Some(now));
                    done.push("switch");
                }
                Action::Wait => return done,
            }
        }
        panic!("no rest: {done:?}");
    }

    #[test]
    fn a_key_is_published_and_known_before_it_signs() {
        let (mut state, mut made) = (State::default(), 0);
        assert_eq!(run(&mut state, &mut made, T0), ["first", "publish"]);
        assert!(!may_sign(&state, T0));
        let known = T0.plus(SETTLE_SECS);
        assert!(may_sign(&state, known));
        assert_eq!(run(&mut state, &mut made, known), [""; 0]);
        // Somebody takes it out of the list.
        state.published = None;
        assert!(!may_sign(&state, known));
        assert_eq!(run(&mut state, &mut made, known), ["publish"]);
    }

    #[test]
    fn a_rotation_never_leaves_nodes_without_the_key_that_signs() {
        let (mut state, mut made) = (State::default(), 0);
        run(&mut state, &mut made, T0);
        let due = T0.plus(SETTLE_SECS + LIFE_SECS);
        assert_eq!(run(&mut state, &mut made, due), ["next", "publish"]);
        assert_eq!(state.published, Some(vec![[1; 32], [2; 32]]));
        assert!(may_sign(&state, due));
        let settled = due.plus(SETTLE_SECS);
        assert_eq!(run(&mut state, &mut made, settled.plus(-1)), [""; 0]);
        assert_eq!(run(&mut state, &mut made, settled), ["switch", "publish"]);
        assert_eq!(state.published, Some(vec![[2; 32]]));
        assert!(may_sign(&state, settled));
        state.asked = true;
        assert_eq!(run(&mut state, &mut made, settled), ["next", "publish"]);
        // A moment that cannot be true is noted anew.
        state.published_at = Some(settled.plus(86_400));
        assert_eq!(run(&mut state, &mut made, settled), ["publish"]);
    }
}
