//! What a courier is given to carry, and the task in which it does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc;

use futures_util::FutureExt as _;
use palisade_alert::desk::GroupId;
use palisade_alert::desk::Sent;
use palisade_alert::outgoing::Outcome;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;
use tokio::sync::mpsc as queue;
use tokio::sync::oneshot;

use super::super::courier::Courier;
use super::super::courier::Load;
use super::super::courier::PATIENCE;
use super::Event;

/// Something that a courier is to carry, and where its outcome goes.
pub(super) enum Errand {
    Parcel { load: Load, places: Vec<(GroupId, Sent)> },
    Test { load: Load, reply: oneshot::Sender<Outcome> },
}

/// Carries what comes, one after the other, until nobody sends any more.
pub(super) async fn serve(
    mut courier: Courier,
    mut errands: queue::UnboundedReceiver<Errand>,
    receiver: Arc<str>,
    outcomes: mpsc::Sender<Event>,
) {
    while let Some(errand) = errands.recv().await {
        let carrying = async {
            match &errand {
                Errand::Parcel { load, .. } => courier.carry(load).await,
                Errand::Test { load, .. } => courier.try_out(load).await,
            }
        };
        let carrying = tokio::time::timeout(PATIENCE, carrying);
        // A message that cannot even be made must not end the way to its receiver.
        let outcome = match AssertUnwindSafe(carrying).catch_unwind().await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Lost { after: None, why: "it took too long".to_owned() },
            Err(_) => {
                tracing::error!(%receiver, "a message about alerts could not be made");
                Outcome::Retry { after: None, why: "it could not be made".to_owned() }
            }
        };
        match errand {
            Errand::Parcel { load: _, places } => {
                let receiver = Arc::clone(&receiver);
                // The thread has ended: the message is owed again after the next start.
                drop(outcomes.send(Event::Done { receiver, places, outcome }));
            }
            Errand::Test { load: _, reply } => drop(reply.send(outcome)),
        }
    }
}

/// Any number, for jitter.
pub(super) fn chance() -> u64 {
    let mut bytes = [0; 8];
    // Without chance there is no jitter, which does no harm.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return 0;
    }
    u64::from_le_bytes(bytes)
}
