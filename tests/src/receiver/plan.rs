//! What a receiver does with each request, decided before any comes.

use std::collections::VecDeque;
use std::time::Duration;

use super::chance::Chance;
use super::tls::Certificate;

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Half an answer with status 200: the head, and half of the body that it promises.
    CutBody,
    /// Half an answer: the connection ends within the line of its status.
    CutHead,
    /// The connection ends after the request was read.
    DropRead,
    /// The connection ends before the request is read.
    DropUnread,
    /// This status before the body was read, and the connection ends.
    EarlyStatus(u16),
    /// Status 200 with a body that never ends.
    EndlessBody,
    /// Status 200 with headers that never end.
    EndlessHead,
    /// Something that is no HTTP.
    Garbage,
    /// The request is read and never answered.
    Hang,
    /// Status 307 to this address.
    Redirect(String),
    /// The request is read in small pieces over this time, and then taken.
    SlowRead(Duration),
    /// This status.
    Status(u16),
    /// Taken: status 200.
    Take,
    /// Status 429 with this as `Retry-After`: seconds, or a date of HTTP, or nonsense.
    TooMany(String),
}

/// What happens to requests: some in order, the others by weighted chance.
#[derive(Clone, Debug)]
pub struct Plan {
    first: VecDeque<Conduct>,
    then: Vec<(u32, Conduct)>,
    certificates: Vec<(u32, Certificate)>,
    chance: Chance,
    /// What makes it happen again.
    seed: u64,
}

impl Plan {
    /// Takes everything.
    #[must_use]
    pub fn kind() -> Self {
        Self::always(Conduct::Take)
    }

    /// Does the same with every request.
    #[must_use]
    pub fn always(conduct: Conduct) -> Self {
        Self::weighted(0, vec![(1, conduct)])
    }

    /// Does these in turn and takes everything after them.
    #[must_use]
    pub fn first(conducts: impl IntoIterator<Item = Conduct>) -> Self {
        Self { first: conducts.into_iter().collect(), ..Self::kind() }
    }

    /// Picks by weight.
    #[must_use]
    pub fn weighted(seed: u64, then: Vec<(u32, Conduct)>) -> Self {
        let (first, certificates) = (VecDeque::new(), Vec::new());
        Self { first, then, certificates, chance: Chance::new(seed), seed }
    }

    /// Of a hundred requests, this many meet a fault that senders must survive: all that end by
    /// themselves or by the sender's own deadline, none that makes it give up.
    #[must_use]
    pub fn flaky(seed: u64, faults: u32) -> Self {
        let kinds = [
            Conduct::CutHead,
            Conduct::DropRead,
            Conduct::DropUnread,
            Conduct::Garbage,
            Conduct::Hang,
            Conduct::SlowRead(Duration::from_millis(300)),
            Conduct::Status(500),
            Conduct::Status(503),
            Conduct::TooMany("1".to_owned()),
        ];
        let kindness = 100_u32.saturating_sub(faults) * kinds.len() as u32;
        let mut then: Vec<_> = kinds.into_iter().map(|conduct| (faults, conduct)).collect();
        then.push((kindness, Conduct::Take));
        Self::weighted(seed, then)
    }

    /// The same over TLS, with this certificate.
    #[must_use]
    pub fn over_tls(self, certificate: Certificate) -> Self {
        self.over_weighted_tls(vec![(1, certificate)])
    }

    /// The same over TLS, where each connection sees one of these by weight.
    #[must_use]
    pub fn over_weighted_tls(mut self, certificates: Vec<(u32, Certificate)>) -> Self {
        self.certificates = certificates;
        self
    }

    /// The same over TLS, where this many of a hundred connections see a certificate that they must
    /// not trust.
    #[must_use]
    pub fn over_flaky_tls(self, bad: u32) -> Self {
        let [expired, unknown, wrong] =
            [Certificate::Expired, Certificate::Unknown, Certificate::WrongName];
        let good = 100_u32.saturating_sub(bad) * 3;
        self.over_weighted_tls(vec![
            (good, Certificate::Good),
            (bad, expired),
            (bad, unknown),
            (bad, wrong),
        ])
    }

    /// Its seed, for the words of a failure.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn conduct(&mut self) -> Conduct {
        let next = self.first.pop_front();
        next.or_else(|| self.chance.pick(&self.then).cloned()).unwrap_or(Conduct::Take)
    }

    pub(crate) fn certificate(&mut self) -> Option<Certificate> {
        self.chance.pick(&self.certificates).copied()
    }
}
