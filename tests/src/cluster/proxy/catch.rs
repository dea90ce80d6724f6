//! Catching one request on its way: held before the API server hears of it, or after it has done what
//! was asked, and in either case without an answer. So a test can kill a client at exactly that point.

use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Proxy;
use super::Shared;

/// Where a request is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Side {
    /// The API server never hears of it.
    Before,
    /// The API server has executed it and answered to the end.
    After,
}

/// A request that may be caught.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// `GET`, `WATCH`, `POST`, ...
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// What follows the `?`; empty without one.
    pub query: &'a str,
    /// As it was sent.
    pub body: &'a [u8],
}

type Wanted = Box<dyn FnMut(&Arrived<'_>) -> Option<Side> + Send>;

/// What waits for a request.
pub(super) struct Trap {
    wanted: Wanted,
    told: mpsc::Sender<Held>,
    /// Whether a request is held, or is executed in order to be.
    is_shut: bool,
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trap").field("is_shut", &self.is_shut).finish_non_exhaustive()
    }
}

/// Tells when a request is held.
#[derive(Debug)]
pub struct Caught {
    told: mpsc::Receiver<Held>,
}

/// A request that is held. Once it is dropped, the request never goes on.
#[derive(Debug)]
pub struct Held(oneshot::Sender<()>);

impl Held {
    /// Lets a request go on that the API server has not heard of. Nothing if its client went away.
    pub fn let_go(self) {
        if self.0.send(()).is_err() {
            eprintln!("whoever made the request that was held has gone");
        }
    }
}

impl Caught {
    /// Waits until a request is held; whether it is.
    ///
    /// # Panics
    /// If another trap was set meanwhile.
    #[must_use]
    pub fn within(&self, within: Duration) -> bool {
        self.held(within).is_some()
    }

    /// The same, for whoever lets it go on.
    ///
    /// # Panics
    /// If another trap was set meanwhile.
    #[must_use]
    pub fn held(&self, within: Duration) -> Option<Held> {
        match self.told.recv_timeout(within) {
            Ok(held) => Some(held),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("another trap was set"),
        }
    }
}

impl Proxy {
    /// Shows each request to `wanted` in the order of arrival, watches included, until it wants one: that
    /// one gets no answer until its client goes away or it is let go. Then all requests pass. One that is to be held
    /// after it was executed, and is refused, is answered, and the next one is shown again.
    ///
    /// A trap that was set before is gone.
    pub fn catch(
        &self,
        wanted: impl FnMut(&Arrived<'_>) -> Option<Side> + Send + 'static,
    ) -> Caught {
        let (tell, told) = mpsc::channel();
        let trap = Trap { wanted: Box::new(wanted), told: tell, is_shut: false };
        self.shared.state().trap = Some(trap);
        Caught { told }
    }
}

impl Shared {
    /// Where this request is to be held, if anywhere.
    pub(super) fn asked(&self, arrived: &Arrived<'_>) -> Option<Side> {
        let mut state = self.state();
        let trap = state.trap.as_mut().filter(|trap| !trap.is_shut)?;
        let side = (trap.wanted)(arrived)?;
        trap.is_shut = true;
        Some(side)
    }

    /// The request that was asked for is held now, until this says that it may go on; if ever.
    pub(super) fn held(&self) -> oneshot::Receiver<()> {
        let (go_on, may_go_on) = oneshot::channel();
        if let Some(trap) = &self.state().trap
            && trap.told.send(Held(go_on)).is_err()
        {
            eprintln!("a request is held, and nobody waits for it");
        }
        may_go_on
    }

    /// The request that was asked for was refused.
    pub(super) fn escaped(&self) {
        if let Some(trap) = &mut self.state().trap {
            trap.is_shut = false;
        }
    }
}
