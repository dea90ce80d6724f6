//! Why one node has not been rebooted: every gate in order with what it sees, and one sentence.

use palisade_plan::fleet::Need;
use palisade_plan::fleet::Node;
use palisade_plan::gate::Gate;
use palisade_plan::plan::GateView;
use palisade_plan::plan::Place;
use palisade_plan::plan::Verdict;
use palisade_plan::plan::explain;
use palisade_plan::request::Progress;
use palisade_plan::request::Request;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use serde::Serialize;

use super::answer::Answer;
use super::answer::Kind;
use super::answer::Media;
use super::answer::Refused;
use crate::http::call::Prose;
use crate::planned::Planned;
use crate::planned::View;

/// Bytes of what a gate saw in the text form: a terminal's line.
const MAX_VALUE: usize = 160;

/// The gates of one node.
///
/// # Errors
/// [`Refused`] while nobody coordinates, or if there is no such node.
pub fn of(
    planned: &Planned,
    name: &NodeName,
    prose: Prose,
    now: Moment,
) -> Result<Answer, Refused> {
    let view = super::plan::view(planned)?;
    let (uid, node) =
        view.fleet.nodes.iter().find(|(_, node)| node.name == *name).ok_or_else(|| {
            Refused::new(Kind::NotFound, "no node of that name is in the cluster")
        })?;
    let explained = Explained::of(&view, uid, node, now);
    Ok(match prose {
        Prose::Json => Answer::json(&explained),
        Prose::Text => Answer::text(Media::Text, explained.text(now)),
    })
}

#[derive(Debug, Serialize)]
struct Explained<'a> {
    name: &'a NodeName,
    uid: &'a NodeUid,
    /// One sentence for a person.
    says: String,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    pool: &'a str,
    zone: &'a str,
    /// Why a reboot is needed, or why that cannot be told.
    need: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta: Option<Moment>,
    policy_refused: Option<&'a str>,
    gates: Vec<Line>,
    history: Vec<Entered>,
}

#[derive(Debug, Serialize)]
struct Line {
    gate: Gate,
    open: bool,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_check: Option<Moment>,
}

#[derive(Debug, Serialize)]
struct Entered {
    state: String,
    at: Moment,
}

impl<'a> Explained<'a> {
    fn of(view: &'a View, uid: &'a NodeUid, node: &'a Node, now: Moment) -> Self {
        let place = view.plan.places.get(uid);
        let request = view.fleet.requests.get(uid);
        let gates = explain(&view.fleet, &view.policy, uid, now).into_iter().map(Line::from);
        let (verdict, state) = place.map_or(("unknown", None), |it| super::plan::words(it.verdict));
        let history = request.map(|it| it.progress.history.as_slice()).unwrap_or_default();
        Self {
            name: &node.name,
            uid,
            says: sentence(node, place, request, now),
            verdict,
            state,
            pool: place.map_or("", |it| &it.pool),
            zone: place.map_or("", |it| &it.zone),
            need: need(&node.agent.need, now),
            ahead: place.and_then(|it| it.position),
            eta: place.and_then(|it| it.eta),
            policy_refused: view.refused_policy.as_deref(),
            gates: gates.collect(),
            history: history
                .iter()
                .map(|it| Entered { state: format!("{:?}", it.state), at: it.at })
                .collect(),
        }
    }

    /// For a terminal: the sentence, then one line for each gate, shut ones marked.
    fn text(&self, now: Moment) -> String {
        let mut out = format!("{}\n\n", self.says);
        let (name, pool) = ("needed", self.pool);
        out.push_str(&format!("  {name:26}{}\n", self.need));
        out.push_str(&format!("  {:26}{pool}\n", "pool"));
        for Line { gate, open, value, since, next_check } in &self.gates {
            let mark = if *open { ' ' } else { '>' };
            let word = if *open { "open" } else { "shut" };
            let since = since.map(|it| format!(", since {}", span(now.since(it))));
            let next = next_check.map(|it| format!(", looked at again in {}", span(it.since(now))));
            let value = palisade_report::bound::clean(value.as_bytes(), MAX_VALUE);
            out.push_str(&format!(
                "{mark} {:26}{word}  {value}{}{}\n",
                gate.word(),
                since.unwrap_or_default(),
                next.unwrap_or_default(),
            ));
        }
        if let Some(refused) = self.policy_refused {
            out.push_str(&format!("\nthe policy on file is not followed: {refused}\n"));
        }
        for Entered { state, at } in &self.history {
            out.push_str(&format!("\n  {at}  {state}"));
        }
        out
    }
}

impl From<GateView> for Line {
    fn from(view: GateView) -> Self {
        let GateView { gate, open, value, since, next_check } = view;
        Self { gate, open, value, since, next_check }
    }
}

/// What a person wants to hear first.
fn sentence(node: &Node, place: Option<&Place>, request: Option<&Request>, now: Moment) -> String {
    let name = &node.name;
    let Some(place) = place else { return format!("{name} is not in the last plan yet.") };
    match place.verdict {
        Verdict::NotNeeded => format!("{name} needs no reboot."),
        Verdict::Start => format!("{name} starts now."),
        Verdict::Unknown => {
            let why = place.blockers.first().map_or("nobody knows why", |it| it.value.as_str());
            format!("Whether {name} needs a reboot cannot be told: {why}.")
        }
        Verdict::Waits => {
            let gate = place.blockers.first().map_or_else(
                || "its pods are being read".to_owned(),
                |it| format!("{} ({})", it.value, it.gate),
            );
            let about = place.eta.map(|eta| format!(" In about {}.", span(eta.since(now))));
            format!("{name} waits: {gate}.{}", about.unwrap_or_default())
        }
        Verdict::InFlight(state) => {
            let Some(Request { progress, .. }) = request else {
                return format!("{name} is {state:?}.");
            };
            let Progress { since, failure, blockers, .. } = progress;
            let why = failure
                .as_ref()
                .map(|fault| fault.message.clone())
                .or_else(|| blockers.first().map(|it| it.value.clone()));
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            format!("{name} is {state:?} for {}{why}.", span(now.since(*since)))
        }
    }
}

fn need(need: &Need, now: Moment) -> String {
    match need {
        Need::Needed { reasons, digest: _, since } => {
            let mut words: Vec<String> = reasons
                .iter()
                .take(3)
                .map(|it| match it.target.as_str() {
                    "" => it.subject.clone(),
                    target => format!("{} {target}", it.subject),
                })
                .collect();
            if reasons.len() > words.len() {
                words.push(format!("{} more", reasons.len() - words.len()));
            }
            format!("yes, since {}: {}", span(now.since(*since)), words.join(", "))
        }
        Need::NotNeeded => "no".to_owned(),
        Need::Unknown { why } => format!("cannot tell: {why}"),
    }
}

/// Seconds in the largest unit that is whole enough for a person.
fn span(secs: i64) -> String {
    match secs.max(0) {
        secs @ 0..120 => format!("{secs} s"),
        secs @ 120..7_200 => format!("{} min", secs / 60),
        secs @ 7_200..172_800 => format!("{} h", secs / 3_600),
        secs => format!("{} d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_units_for_people() {
        let spoken: Vec<String> = [-5, 119, 120, 7_199, 7_200, 172_800].map(span).into();
        assert_eq!(spoken, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
    }
}
