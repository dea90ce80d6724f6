//! Calls about alerts: which there are, who would be told, silences, and receivers.
//!
//! ```text
//! AlertsCall ──> the owner's thread: one bounded pass ──> words, pages, tables: here
//!      └ changes: checked ──> in the audit ──> the owner's thread, which answers once it is written
//! ```

use std::cmp::Reverse;
use std::net::IpAddr;

use palisade_alert::catalogue::Catalogue;
use palisade_alert::catalogue::Entry;
use palisade_alert::catalogue::Same;
use palisade_alert::config::Config;
use palisade_alert::key::AlertId;
use palisade_alert::kind::Kind as AlertKind;
use palisade_alert::severity::Severity;
use palisade_report::Moment;
use serde::Serialize;

mod receivers;
mod rehearse;
mod silences;
mod table;

use super::Loaded;
use super::answer::Answer;
use super::answer::Kind;
use super::answer::Media;
use super::answer::Refused;
use super::page;
use crate::audit;
use crate::audit::Happening;
use crate::auth::Caller;
use crate::http::call::AlertsCall;
use crate::http::call::AlertsQuery;
use crate::http::call::Prose;
use crate::notify::owner::ChangeError;
use crate::notify::owner::Notifier;
use crate::notify::owner::NotifierGone;
use crate::notify::view::AlertsPage;
use crate::notify::view::Line;
use crate::notify::view::Place;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) caller: &'a Caller,
    pub(super) from: IpAddr,
}

impl Asker<'_> {
    /// By what people know them.
    fn name(self) -> String {
        match self.caller {
            Caller::Person(person) => person.user.clone(),
            Caller::Agent(_) | Caller::Anybody => {
                super::audit::actor(self.caller, None).to_string()
            }
        }
    }

    /// That they want something, for the audit.
    fn wish(self, kind: audit::Kind, object: String, reason: String) -> Happening {
        Happening {
            actor: super::audit::actor(self.caller, None),
            source: Some(self.from),
            ..Happening::own(kind, object, reason)
        }
    }
}

/// Answers a call about alerts.
///
/// # Errors
/// [`Refused`] if nothing of that name is there, if it makes no sense, or while nobody works alerts
/// out.
pub(super) async fn answer(
    loaded: &Loaded,
    call: AlertsCall,
    asker: Asker<'_>,
) -> Result<Answer, Refused> {
    match call {
        AlertsCall::Catalogue => catalogue(&loaded.notifier).await,
        AlertsCall::EndSilence(id) => silences::end(loaded, id, asker).await,
        AlertsCall::List(query) => list(&loaded.notifier, query, loaded.clock.now()).await,
        AlertsCall::One(id) => one(&loaded.notifier, id, loaded.clock.now()).await,
        AlertsCall::Receiver(name) => receivers::one(loaded, name).await,
        AlertsCall::Receivers => receivers::list(loaded).await,
        AlertsCall::Rehearse(asked) => {
            rehearse::of(&loaded.notifier, *asked, loaded.clock.now()).await
        }
        AlertsCall::Replay(name) => receivers::replay(loaded, name, asker).await,
        AlertsCall::Silence(wanted) => silences::add(loaded, *wanted, asker).await,
        AlertsCall::Silences => silences::list(loaded).await,
        AlertsCall::Test(name) => receivers::test(loaded, name, asker).await,
    }
}

fn gone(gone: NotifierGone) -> Refused {
    Refused::new(Kind::NotReady, gone.to_string()).retry_after(5)
}

fn unchanged(error: ChangeError) -> Refused {
    match error {
        ChangeError::Gone(error) => gone(error),
        ChangeError::NotWritten => Refused::new(Kind::Unavailable, error.to_string()),
    }
}

/// The alerts that fit, the loudest first.
async fn list(notifier: &Notifier, query: AlertsQuery, now: Moment) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body<'a> {
        alerts: &'a [Line],
        next: Option<String>,
    }
    let AlertsQuery { choice, after, limit, prose } = query;
    let after = after.as_deref().map(place).transpose()?;
    let asked = notifier.ask(move |core| core.page(&choice, after, limit, now)).await;
    let AlertsPage { alerts, next } = asked.map_err(gone)?;
    let next = next.map(cursor);
    Ok(match prose {
        Prose::Json => Answer::json(&Body { alerts: &alerts, next }),
        Prose::Text => Answer::text(Media::Text, table::of(&alerts, next.as_deref(), now)),
    })
}

fn cursor(place: Place) -> String {
    let Place(Reverse(severity), from, id) = place;
    page::cursor(&format!("{severity} {} {id}", from.unix()))
}

/// The place behind a cursor.
fn place(cursor: &str) -> Result<Place, Refused> {
    let text = page::key(cursor)?;
    let mut parts = text.split(' ');
    let mut next = || parts.next().unwrap_or_default();
    let read = (next().parse::<Severity>(), next().parse(), next().parse::<AlertId>());
    match (read, parts.next()) {
        ((Ok(severity), Ok(from), Ok(id)), None) => {
            Ok(Place(Reverse(severity), Moment::from_unix(from), id))
        }
        _ => {
            let message = "the parameter after is not a cursor: pass on what `next` said";
            Err(Refused::new(Kind::MalformedRequest, message))
        }
    }
}

async fn one(notifier: &Notifier, id: AlertId, now: Moment) -> Result<Answer, Refused> {
    let whole = notifier.ask(move |core| core.whole(id, now)).await.map_err(gone)?;
    let none = || Refused::new(Kind::NotFound, "there is no alert of that id; it may be over");
    whole.map(|whole| Answer::json(&whole)).ok_or_else(none)
}

/// An alert as it is documented, with the times that are in force.
#[derive(Serialize)]
struct Documented<'a> {
    name: AlertKind,
    /// As Alertmanager knows it.
    alertname: String,
    component: &'a str,
    severity: &'a str,
    for_secs: i64,
    keep_secs: i64,
    summary: &'a str,
    meaning: &'a str,
    action: &'a str,
    link: &'a str,
    values: &'a [String],
    quiet_in_reboot: bool,
    inhibited_by: Vec<Inhibitor<'a>>,
    only_prometheus: bool,
    /// Whether the settings say that nobody is told.
    muted: bool,
}

#[derive(Serialize)]
struct Inhibitor<'a> {
    alert: AlertKind,
    same: &'a [Same],
}

async fn catalogue(notifier: &Notifier) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body<'a> {
        alerts: Vec<Documented<'a>>,
    }
    let asked = notifier.ask(|core| (core.catalogue.clone(), core.config.clone())).await;
    let (catalogue, config): (Catalogue, _) = asked.map_err(gone)?;
    let alerts = catalogue.entries().map(|entry| documented(entry, &config)).collect();
    Ok(Answer::json(&Body { alerts }))
}

fn documented<'a>(entry: &'a Entry, config: &Config) -> Documented<'a> {
    let inhibitors = entry.inhibited_by.iter();
    Documented {
        name: entry.alert,
        alertname: entry.alert.alertname(),
        component: &entry.component,
        severity: &entry.severity,
        for_secs: entry.hold.as_secs(),
        keep_secs: entry.keep.as_secs(),
        summary: &entry.summary,
        meaning: &entry.meaning,
        action: &entry.action,
        link: &entry.link,
        values: &entry.values,
        quiet_in_reboot: entry.quiet_in_reboot,
        inhibited_by: inhibitors.map(|it| Inhibitor { alert: it.alert, same: &it.same }).collect(),
        only_prometheus: entry.only_prometheus,
        muted: config.changes.get(&entry.alert).is_some_and(|it| it.is_muted),
    }
}

#[cfg(test)]
mod tests;
