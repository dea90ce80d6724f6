//! Receivers: who is told, what became of it, and whether a message reaches them.

use std::time::Duration;

use palisade_alert::desk::DeadLetter;
use palisade_alert::outgoing::Outcome;
use palisade_report::bound::clean_text;
use serde::Serialize;

use super::Asker;
use super::gone;
use super::unchanged;
use crate::api::Loaded;
use crate::api::answer::Answer;
use crate::api::answer::Kind;
use crate::api::answer::Refused;
use crate::audit;
use crate::notify::view::Way;

/// How long somebody waits to hear what came of a trial.
const PATIENCE: Duration = Duration::from_secs(20);

/// All receivers, in the order of the file; there are not many.
pub(super) async fn list(loaded: &Loaded) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body {
        receivers: Vec<Way>,
        /// Why the newest settings are not followed.
        refused_configuration: Option<String>,
    }
    let now = loaded.clock.now();
    let asked = loaded.notifier.ask(move |core| (core.ways(now), core.refused.clone())).await;
    let (receivers, refused_configuration) = asked.map_err(gone)?;
    Ok(Answer::json(&Body { receivers, refused_configuration }))
}

/// One of them, with what was put aside.
pub(super) async fn one(loaded: &Loaded, name: String) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body {
        #[serde(flatten)]
        way: Way,
        dead_letters: Vec<DeadLetter>,
    }
    let now = loaded.clock.now();
    let asked = loaded.notifier.ask(move |core| core.way_of(&name, now)).await;
    let (way, dead_letters) = asked.map_err(gone)?.ok_or_else(nobody)?;
    Ok(Answer::json(&Body { way, dead_letters }))
}

fn nobody() -> Refused {
    Refused::new(Kind::NotFound, "there is no receiver of that name; /v1/receivers lists them")
}

async fn known(loaded: &Loaded, name: &str) -> Result<(), Refused> {
    let name = name.to_owned();
    let is_known = loaded.notifier.ask(move |core| core.config.receiver(&name).is_some()).await;
    if is_known.map_err(gone)? { Ok(()) } else { Err(nobody()) }
}

/// Sends a message that no alert is behind, and says what came of it.
pub(super) async fn test(
    loaded: &Loaded,
    name: String,
    asker: Asker<'_>,
) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body<'a> {
        receiver: &'a str,
        outcome: &'static str,
        message: &'a str,
    }
    known(loaded, &name).await?;
    let reason = "a person tried it out".to_owned();
    let wish = asker.wish(audit::Kind::Receiver, format!("receiver {name}"), reason);
    loaded.engine.audit_durably(wish).await?;
    let outcome = tokio::time::timeout(PATIENCE, loaded.notifier.test(name.clone())).await;
    let failed = |what: &str, why: &str| {
        Err(Refused::new(Kind::ReceiverFailed, format!("{name}: {what}: {}", clean_text(why))))
    };
    let Ok(outcome) = outcome else {
        let message = "it has not answered within 20 s; it may yet take the message";
        return Ok(Answer::accepted(&Body { receiver: &name, outcome: "unknown", message }));
    };
    match outcome.map_err(gone)? {
        Outcome::Delivered => {
            let message = "the receiver took it";
            Ok(Answer::json(&Body { receiver: &name, outcome: "delivered", message }))
        }
        Outcome::Dead { why } => failed("refused, and would be again", &why),
        Outcome::Partial { why } => failed("refused in part", &why),
        Outcome::Lost { after: _, why } => failed("no answer, and it may have been taken", &why),
        Outcome::Retry { after: _, why } => failed("not taken now", &why),
        Outcome::TooLarge => failed("refused", "it is too large for the receiver"),
    }
}

/// Sends again what was put aside, as far as it still fires, and ends.
pub(super) async fn replay(
    loaded: &Loaded,
    name: String,
    asker: Asker<'_>,
) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body<'a> {
        receiver: &'a str,
        /// Groups of which it is told again.
        groups: usize,
    }
    known(loaded, &name).await?;
    let reason = "a person has what was put aside sent again".to_owned();
    let wish = asker.wish(audit::Kind::Receiver, format!("receiver {name}"), reason);
    loaded.engine.audit_durably(wish).await?;
    let asked = name.clone();
    let groups = loaded.notifier.change(move |core| core.desk.replay(&asked)).await;
    let groups = groups.map_err(unchanged)?;
    Ok(Answer::json(&Body { receiver: &name, groups }))
}
