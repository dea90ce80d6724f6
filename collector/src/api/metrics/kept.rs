//! Texts with many series, kept for whoever asks next: several Prometheus servers that scrape at once
//! cost one making.

use std::sync::Arc;

use hyper::body::Bytes;
use palisade_report::Moment;
use tokio::sync::Mutex;

use super::certificates;
use super::certificates::Certificates;
use super::certificates::MAX_CERTIFICATES;
use super::certificates::Tally;
use super::nodes;
use crate::api::Loaded;
use crate::api::answer::Answer;
use crate::api::answer::Kind;
use crate::api::answer::Media;
use crate::api::answer::Refused;
use crate::api::read_failed;
use crate::planned::Planned;
use crate::snapshot::Snapshot;

/// How long a text is given out although the fleet has changed: a large fleet changes all the time, and
/// nobody scrapes more often than this to good end.
const AT_LEAST_SECS: i64 = 10;

/// How long a text is given out while nothing changes: certificates end by themselves.
const AT_MOST_SECS: i64 = 60;

/// The texts.
#[derive(Debug, Default)]
pub struct Kept {
    /// Held while it is made, so that others wait for it instead of making their own.
    certificates: Mutex<(Option<Made>, Tally)>,
    nodes: Mutex<Option<Made>>,
}

/// A text, and what it was made from.
#[derive(Debug)]
struct Made {
    started_at: Moment,
    version: u64,
    at: Moment,
    text: Bytes,
}

impl Kept {
    /// The text about certificates.
    ///
    /// # Errors
    /// [`Refused`] if the store cannot be read.
    pub async fn certificates(&self, loaded: &Loaded) -> Result<Answer, Refused> {
        let (snapshot, now) = (loaded.engine.snapshot(), loaded.clock.now());
        let mut kept = self.certificates.lock().await;
        if let Some(made) = kept.0.as_ref().filter(|made| made.serves(&snapshot, now)) {
            return Ok(made.answer());
        }
        let read = loaded.reader.first_certificates(MAX_CERTIFICATES).await;
        let (rows, count) = read.map_err(|error| read_failed(&error))?;
        // A copy: whoever asked may go away meanwhile, and what was counted must not go with them.
        let (pictured, mut tally) = (Arc::clone(&snapshot), kept.1.clone());
        let making = tokio::task::spawn_blocking(move || {
            let known = Certificates { rows: &rows, count, snapshot: &pictured };
            let text = certificates::text(Some(&known), &mut tally, now);
            (text, tally)
        });
        let (text, tally) = making.await.map_err(|_| given_up())?;
        let made = Made::from(text, &snapshot, now);
        let answer = made.answer();
        *kept = (Some(made), tally);
        Ok(answer)
    }

    /// The text about nodes.
    ///
    /// # Errors
    /// [`Refused`] if it was given up.
    pub async fn nodes(&self, loaded: &Loaded, planned: &Planned) -> Result<Answer, Refused> {
        let (snapshot, now) = (loaded.engine.snapshot(), loaded.clock.now());
        let mut kept = self.nodes.lock().await;
        if let Some(made) = kept.as_ref().filter(|made| made.serves(&snapshot, now)) {
            return Ok(made.answer());
        }
        let (pictured, view) = (Arc::clone(&snapshot), planned.view());
        let making =
            tokio::task::spawn_blocking(move || nodes::text(Some(&pictured), view.as_deref()));
        let made = Made::from(making.await.map_err(|_| given_up())?, &snapshot, now);
        Ok(kept.insert(made).answer())
    }
}

impl Made {
    fn from(text: String, snapshot: &Snapshot, at: Moment) -> Self {
        let (started_at, version) = (snapshot.started_at, snapshot.version);
        Self { started_at, version, at, text: text.into() }
    }

    /// Whether it may be given out. A clock that was set back makes it old.
    fn serves(&self, snapshot: &Snapshot, now: Moment) -> bool {
        let age = now.since(self.at);
        let same = (self.started_at, self.version) == (snapshot.started_at, snapshot.version);
        let bound = if same { AT_MOST_SECS } else { AT_LEAST_SECS };
        (0..bound).contains(&age)
    }

    fn answer(&self) -> Answer {
        Answer::text(Media::OpenMetrics, self.text.clone())
    }
}

fn given_up() -> Refused {
    Refused::new(Kind::Internal, "the figures were given up")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_serves_for_seconds_while_the_fleet_changes_and_for_a_minute_while_it_does_not() {
        let at = |secs: i64| Moment::from_unix(1_000 + secs);
        let mut snapshot = crate::snapshot::tests::of([]);
        let made = Made::from(String::new(), &snapshot, at(0));
        for (secs, serves) in [(-1, false), (0, true), (59, true), (60, false)] {
            assert_eq!(made.serves(&snapshot, at(secs)), serves, "{secs}");
        }
        snapshot.version += 1;
        for (secs, serves) in [(9, true), (10, false)] {
            assert_eq!(made.serves(&snapshot, at(secs)), serves, "changed, {secs}");
        }
    }
}
