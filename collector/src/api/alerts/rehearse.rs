//! Who would be told of an alert, in which words, and why: nothing is sent and nothing is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_alert::config::Config;
use palisade_alert::config::Receiver;
use palisade_alert::config::Spec;
use palisade_alert::desk::Joined;
use palisade_alert::desk::Style;
use palisade_alert::desk::Way;
use palisade_alert::key::AlertId;
use palisade_alert::mute::Mute;
use palisade_alert::notice::Notice;
use palisade_alert::notice::Noticed;
use palisade_alert::notice::Reason;
use palisade_alert::outgoing::HttpRequest;
use palisade_alert::outgoing::Outgoing;
use palisade_alert::receiver::HIDDEN;
use palisade_alert::receiver::Target;
use palisade_alert::render::Size;
use palisade_alert::render::alertmanager;
use palisade_alert::render::render;
use palisade_alert::route;
use palisade_alert::secret::Secret;
use palisade_alert::sighting::Values;
use palisade_report::Moment;
use palisade_report::bound::clean;
use serde::Serialize;

use super::gone;
use crate::api::answer::Answer;
use crate::api::answer::Kind;
use crate::api::answer::Refused;
use crate::api::apart;
use crate::chain::Chain;
use crate::http::call::Rehearsal;
use crate::notify::owner::Notifier;
use crate::notify::view::Stage;
use crate::notify::view::Verdict;

/// Bytes of a complaint about settings.
const MAX_COMPLAINT: usize = 1024;

#[derive(Serialize)]
struct Body<'a> {
    id: AlertId,
    at: Moment,
    labels: &'a BTreeMap<&'static str, String>,
    /// What would mute it now.
    muted: Option<&'a Mute>,
    routes: Vec<Verdict>,
    told: Vec<Told<'a>>,
}

/// Somebody who would be told.
#[derive(Serialize)]
struct Told<'a> {
    receiver: &'a str,
    kind: &'static str,
    group: String,
    wait_secs: i64,
    interval_secs: i64,
    repeat_secs: i64,
    /// The first message about the group, with what is secret hidden.
    messages: Vec<Message>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    unrendered: Option<String>,
}

#[derive(Serialize)]
#[serde(tag = "as", rename_all = "lowercase")]
enum Message {
    Email { to: Vec<String>, from: String, subject: String, text: String },
    Event { node: String, reason: String, note: String, r#type: &'static str },
    Http { method: &'static str, content_type: String, body: String },
}

/// What would come of an alert.
///
/// # Errors
/// [`Refused`] with the place of what is wrong in other settings.
pub(super) async fn of(
    notifier: &Notifier,
    asked: Rehearsal,
    now: Moment,
) -> Result<Answer, Refused> {
    let config = asked.config.as_deref().map(Config::parse).transpose().map_err(|error| {
        let why = clean(Chain(&error).to_string().as_bytes(), MAX_COMPLAINT);
        Refused::new(Kind::MalformedBody, format!("config: {why}"))
    })?;
    let config = config.map(Arc::new);
    let now = asked.at.unwrap_or(now);
    let (key, severity) = (asked.key.clone(), asked.severity);
    let stage = notifier.ask(move |core| core.stage(&key, severity, config, now)).await;
    let stage = stage.map_err(gone)?;
    apart(move || Ok(rehearse(&stage, &asked, now))).await
}

fn rehearse(stage: &Stage, asked: &Rehearsal, now: Moment) -> Answer {
    let Stage { config, catalogue, mute, values, holds_from } = stage;
    let Rehearsal { key, severity, at: _, config: _ } = asked;
    let Config { cluster, routes, fallback, external_url, .. } = &**config;
    let labels = key.labels(cluster, catalogue.component(key.kind), *severity);
    let words = catalogue.entry(key.kind).map(|entry| entry.values.as_slice());
    // What only a real alert would say is shown as what it is called.
    let named = || {
        let names = words.unwrap_or_default().iter();
        Values::new(names.map(|name| (name.clone(), format!("<{name}>"))).collect())
    };
    let values = values.clone().unwrap_or_else(named);
    let noticed = Noticed {
        id: key.id(),
        kind: key.kind,
        severity: *severity,
        ended: None,
        labels: labels.clone(),
        starts_at: holds_from.unwrap_or(now),
        words: catalogue.words(key, cluster, &values),
        stale_since: None,
    };
    let walked = route::explain(routes, fallback, key, *severity, &labels, now);
    let told = route::receivers(routes, fallback, key, *severity, &labels, now);
    let told = told.into_iter().filter_map(|routed| {
        let receiver = config.receiver(routed.receiver)?;
        let is_each = matches!(receiver.spec, Spec::Alertmanager { .. });
        let style = if is_each { Style::Alertmanager } else { Style::Grouped };
        let way = Way { receiver: routed.receiver, style, grouping: routed.grouping };
        let Joined { labels: group_labels, key: group, waits } = way.joined(&labels);
        let notice = Notice {
            receiver: receiver.name.clone(),
            group_key: group.clone(),
            group_labels,
            cluster: cluster.clone(),
            external_url: external_url.clone(),
            reason: Reason::First,
            alerts: vec![noticed.clone()],
            firing: 1,
            resolved: 0,
            nodes: usize::from(key.node.is_some()),
            at: now,
        };
        let [wait_secs, interval_secs, repeat_secs] = waits;
        let (messages, unrendered) = match messages(receiver, &notice) {
            Ok(messages) => (messages, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let (name, kind) = (receiver.name.as_str(), receiver.spec.as_str());
        Some(Told {
            receiver: name,
            kind,
            group,
            wait_secs,
            interval_secs,
            repeat_secs,
            messages,
            unrendered,
        })
    });
    Answer::json(&Body {
        id: noticed.id,
        at: now,
        labels: &labels,
        muted: mute.as_ref(),
        routes: walked.into_iter().map(Verdict::from).collect(),
        told: told.collect(),
    })
}

/// What a receiver would be sent, without its secrets; or why that cannot be said.
fn messages(receiver: &Receiver, notice: &Notice) -> Result<Vec<Message>, String> {
    // No file is read for this: what is in one is hidden anyway.
    let target = receiver.target(&|_| Some(Secret::new(HIDDEN)));
    let target = match (&receiver.spec, target) {
        (_, Ok(target)) => target.hidden(),
        (Spec::Shoutrrr(_), Err(_)) if !receiver.files().is_empty() => {
            return Err("its address is in a file, which is not read for this".to_owned());
        }
        (_, Err(error)) => return Err(Chain(&error).to_string()),
    };
    if let Target::Alertmanager { urls, token } = &target {
        let each = notice.alerts.iter().map(|noticed| (noticed, [noticed.severity]));
        let batches = alertmanager::batches(each, &notice.external_url, notice.at);
        let url = urls.first().ok_or("it has no members")?;
        return Ok(batches.iter().map(|it| shown(it.request(url, token.as_ref()))).collect());
    }
    let outgoing = render(&target, notice, &receiver.templates, Size::Full);
    let outgoing = outgoing.map_err(|error| Chain(&error).to_string())?;
    let message = |it| match it {
        Outgoing::Email(email) => {
            let palisade_alert::outgoing::Email { to, from, subject, thread: _, text } = email;
            Message::Email { to, from, subject, text }
        }
        Outgoing::Event(event) => {
            let palisade_alert::outgoing::Event { node, reason, note, type_, turn: _ } = event;
            Message::Event { node, reason, note, r#type: type_ }
        }
        Outgoing::Http(request) => shown(request),
    };
    Ok(outgoing.into_iter().map(message).collect())
}

fn shown(request: HttpRequest) -> Message {
    let HttpRequest { method, url: _, headers: _, content_type, body, sign_with: _ } = request;
    Message::Http { method, content_type, body: String::from_utf8_lossy(&body).into_owned() }
}
