//! Counts of what the HTTP side does, passed down as a value; `/metrics` shows them.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use palisade_report::Moment;
use prometheus_client::metrics::histogram::Histogram;

use crate::auth::Reason;
use crate::http::limits::TooMany;

/// Counts since the process started.
#[derive(Debug, Default)]
pub struct Figures {
    accept_errors: AtomicU64,
    broken_connections: AtomicU64,
    denied: [AtomicU64; Reason::ALL.len()],
    failed_handshakes: AtomicU64,
    refused_bodies: AtomicU64,
    refused_sections: AtomicU64,
    replies: [AtomicU64; 5],
    stored_sections: AtomicU64,
    turned_away: [AtomicU64; 3],
    uploads: AtomicU64,
    heartbeats: AtomicU64,
    commit_wait: CommitWait,
    behind: AtomicU64,
    authority_end: AtomicI64,
    serving_end: AtomicI64,
    outputs: [AtomicU64; Output::ALL.len()],
}

/// What became of something that is written for others to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The conditions of a node changed too often; they are written later.
    ConditionDeferred,
    /// The conditions of a node were written.
    ConditionWritten,
    /// An Event was beyond the budget.
    EventDropped,
    /// An Event was told.
    EventWritten,
    /// The API server refused or did not answer.
    Failed,
    /// A ClusterReport was written.
    ReportWritten,
}

impl Output {
    /// All of them, for the label.
    pub const ALL: [Self; 6] = [
        Self::ConditionDeferred,
        Self::ConditionWritten,
        Self::EventDropped,
        Self::EventWritten,
        Self::Failed,
        Self::ReportWritten,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConditionDeferred => "condition-deferred",
            Self::ConditionWritten => "condition-written",
            Self::EventDropped => "event-dropped",
            Self::EventWritten => "event-written",
            Self::Failed => "failed",
            Self::ReportWritten => "report-written",
        }
    }
}

/// The collector's own certificates at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnCertificates {
    /// End of the serving certificate; `None`: there is none, or it cannot be read.
    pub serving_end: Option<Moment>,
    /// End of the authority that signs; `None`: it is somebody else's.
    pub authority_end: Option<Moment>,
    /// Agents that were heard lately and do not trust what is published.
    pub behind: u64,
}

/// How long agents waited for their uploads to become durable.
#[derive(Clone, Debug)]
pub struct CommitWait(pub Histogram);

/// Upper bounds of its buckets, in seconds: a batch takes at most 0.05, a slow disk seconds.
const COMMIT_BOUNDS_SECS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

impl Default for CommitWait {
    fn default() -> Self {
        Self(Histogram::new(COMMIT_BOUNDS_SECS))
    }
}

/// Hundreds of status codes, for the label.
pub const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why connections are turned away, for the label.
pub const TURNED_AWAY: [&str; 3] = ["all", "unproven", "address"];

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn at(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// `accept` failed.
    pub accept_errors: u64,
    /// Connections that ended by a fault of the peer or a timeout.
    pub broken_connections: u64,
    /// Requests that were turned away, by [`Reason::ALL`].
    pub denied: [u64; Reason::ALL.len()],
    /// TLS handshakes that failed or took too long.
    pub failed_handshakes: u64,
    /// Bodies that were not taken.
    pub refused_bodies: u64,
    /// Sections that were not taken.
    pub refused_sections: u64,
    /// Replies by [`STATUS_CLASSES`].
    pub replies: [u64; 5],
    /// Sections that were taken.
    pub stored_sections: u64,
    /// Connections by [`TURNED_AWAY`].
    pub turned_away: [u64; 3],
    /// Uploads.
    pub uploads: u64,
    /// Heartbeats.
    pub heartbeats: u64,
}

impl Figures {
    /// `accept` failed.
    pub fn count_accept_error(&self) {
        add(&self.accept_errors, 1);
    }

    /// A connection ended early.
    pub fn count_broken_connection(&self) {
        add(&self.broken_connections, 1);
    }

    /// A request was turned away.
    pub fn count_denied(&self, why: Reason) {
        let place = Reason::ALL.into_iter().position(|reason| reason == why);
        if let Some(counter) = place.and_then(|place| self.denied.get(place)) {
            add(counter, 1);
        }
    }

    /// A TLS handshake failed.
    pub fn count_failed_handshake(&self) {
        add(&self.failed_handshakes, 1);
    }

    /// A body was not taken.
    pub fn count_refused_body(&self) {
        add(&self.refused_bodies, 1);
    }

    /// A heartbeat was taken to the engine.
    pub fn count_heartbeat(&self) {
        add(&self.heartbeats, 1);
    }

    /// An upload came to its end after `waited`.
    pub fn count_upload(&self, stored: usize, refused: usize, waited: std::time::Duration) {
        add(&self.uploads, 1);
        add(&self.stored_sections, u64::try_from(stored).unwrap_or(u64::MAX));
        add(&self.refused_sections, u64::try_from(refused).unwrap_or(u64::MAX));
        self.commit_wait.0.observe(waited.as_secs_f64());
    }

    /// A reply left with this status.
    pub fn count_reply(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(counter) = self.replies.get(class) {
            add(counter, 1);
        }
    }

    /// A connection was closed before a word.
    pub fn count_turned_away(&self, why: TooMany) {
        let [all, unproven, address] = &self.turned_away;
        match why {
            TooMany::InAll => add(all, 1),
            TooMany::OfOneAddress => add(address, 1),
            TooMany::Unproven => add(unproven, 1),
        }
    }

    /// How long agents waited for their uploads to become durable.
    #[must_use]
    pub const fn commit_wait(&self) -> &CommitWait {
        &self.commit_wait
    }

    /// The serving certificate ends then.
    pub fn set_serving_end(&self, end: Option<Moment>) {
        self.serving_end.store(end.map_or(0, Moment::unix), Ordering::Relaxed);
    }

    /// The signing authority ends then.
    pub fn set_authority_end(&self, end: Option<Moment>) {
        self.authority_end.store(end.map_or(0, Moment::unix), Ordering::Relaxed);
    }

    /// So many agents do not trust what is published.
    pub fn set_behind(&self, behind: usize) {
        self.behind.store(u64::try_from(behind).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Something was to be written for others to see.
    pub fn count_output(&self, output: Output) {
        let at = Output::ALL.iter().position(|it| *it == output);
        if let Some(counter) = at.and_then(|at| self.outputs.get(at)) {
            add(counter, 1);
        }
    }

    /// How often that happened.
    pub fn outputs(&self) -> impl Iterator<Item = (Output, u64)> {
        Output::ALL.into_iter().zip(self.outputs.iter().map(at))
    }

    /// The collector's own certificates now.
    #[must_use]
    pub fn own_certificates(&self) -> OwnCertificates {
        let end = |end: &AtomicI64| {
            Some(end.load(Ordering::Relaxed)).filter(|end| *end != 0).map(Moment::from_unix)
        };
        OwnCertificates {
            serving_end: end(&self.serving_end),
            authority_end: end(&self.authority_end),
            behind: at(&self.behind),
        }
    }

    /// The counts now.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let Self {
            accept_errors,
            broken_connections,
            denied,
            failed_handshakes,
            refused_bodies,
            refused_sections,
            replies,
            stored_sections,
            turned_away,
            uploads,
            heartbeats,
            commit_wait: _,
            behind: _,
            authority_end: _,
            serving_end: _,
            outputs: _,
        } = self;
        Counted {
            accept_errors: at(accept_errors),
            broken_connections: at(broken_connections),
            denied: denied.each_ref().map(at),
            failed_handshakes: at(failed_handshakes),
            refused_bodies: at(refused_bodies),
            refused_sections: at(refused_sections),
            replies: replies.each_ref().map(at),
            stored_sections: at(stored_sections),
            turned_away: turned_away.each_ref().map(at),
            uploads: at(uploads),
            heartbeats: at(heartbeats),
        }
    }
}
