//! The handle of the owner of alerts: what others ask of it.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc;

use palisade_alert::outgoing::Outcome;
use tokio::sync::oneshot;

use super::Act;
use super::Event;
use crate::api::metrics::notifications::Board;
use crate::notify::core::Core;

/// The handle: cheap to clone, safe to call from any task.
#[derive(Clone)]
pub struct Notifier {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) board: Arc<Board>,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}

/// Whether what was changed outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Written,
    NotWritten,
}

/// Something was not changed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It was not changed. At fault: nobody, or us.
    #[error(transparent)]
    Gone(#[from] NotifierGone),
    /// It was changed, and a restart forgets it. At fault: the disk.
    #[error("it is so until the collector restarts: the store of alerts takes no writes")]
    NotWritten,
}

/// The owner of alerts has ended. At fault: nobody, or us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("alerts are not being worked out")]
pub struct NotifierGone;

impl Notifier {
    /// Where it shows its figures.
    #[must_use]
    pub const fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Asks for something.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, NotifierGone> {
        self.act(act).await.map(|(answer, _)| answer)
    }

    /// Changes something. The answer means that the change is written.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, ChangeError> {
        match self.act(act).await? {
            (answer, Kept::Written) => Ok(answer),
            (_, Kept::NotWritten) => Err(ChangeError::NotWritten),
        }
    }

    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<(T, Kept), NotifierGone> {
        let (reply, answer) = oneshot::channel();
        let (then, done) = oneshot::channel();
        let act: Act = Box::new(move |core| drop(reply.send(act(core))));
        self.events.send(Event::Act { act, then }).map_err(|_| NotifierGone)?;
        let kept = done.await.map_err(|_| NotifierGone)?;
        Ok((answer.await.map_err(|_| NotifierGone)?, kept))
    }

    /// Sends a message to a receiver that no alert is behind, and waits for what comes of it.
    pub(crate) async fn test(&self, receiver: String) -> Result<Outcome, NotifierGone> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::Test { receiver, reply }).map_err(|_| NotifierGone)?;
        answer.await.map_err(|_| NotifierGone)
    }

    /// Asks the thread to end once everything taken before is written.
    pub fn stop(&self) {
        if self.events.send(Event::Stop).is_err() {
            tracing::debug!("the thread of alerts had ended already");
        }
    }
}
