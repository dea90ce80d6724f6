//! Silences: who muted what, and until when.

use palisade_alert::book::Record;
use palisade_alert::silence::RefusedSilence;
use palisade_alert::silence::Silence;
use palisade_alert::silence::Wanted;
use palisade_report::Moment;
use serde::Serialize;

use super::Asker;
use super::gone;
use super::unchanged;
use crate::api::Loaded;
use crate::api::answer::Answer;
use crate::api::answer::Kind;
use crate::api::answer::Refused;
use crate::audit;
use crate::audit::Decision;
use crate::audit::Happening;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    silence: &'a Silence,
    /// Whether it holds now.
    active: bool,
}

impl<'a> Line<'a> {
    fn of(silence: &'a Silence, now: Moment) -> Self {
        Self { silence, active: silence.is_active(now) }
    }
}

/// All of them, of which there are not more than a thousand.
pub(super) async fn list(loaded: &Loaded) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body<'a> {
        silences: Vec<Line<'a>>,
    }
    let now = loaded.clock.now();
    let silences = loaded.notifier.ask(|core| core.silences.clone()).await.map_err(gone)?;
    let silences = silences.iter().map(|it| Line::of(it, now)).collect();
    Ok(Answer::json(&Body { silences }))
}

fn refused(refused: &RefusedSilence) -> Refused {
    let kind = match refused {
        RefusedSilence::Ends
        | RefusedSilence::Everything
        | RefusedSilence::Matcher(_)
        | RefusedSilence::Reason => Kind::MalformedBody,
        RefusedSilence::TooMany => Kind::Conflict,
    };
    Refused::new(kind, refused.to_string())
}

/// Adds one. Whatever makes no sense is refused before anything is in the audit.
pub(super) async fn add(
    loaded: &Loaded,
    wanted: Wanted,
    asker: Asker<'_>,
) -> Result<Answer, Refused> {
    let (author, now) = (asker.name(), loaded.clock.now());
    let checked = Silence::check(wanted.clone(), &author, 0, now).map_err(|it| refused(&it))?;
    if let Some(id) = wanted.alert {
        let fires =
            loaded.notifier.ask(move |core| core.book.record(id).is_some_and(Record::is_firing));
        if !fires.await.map_err(gone)? {
            return Err(Refused::new(Kind::NotFound, "no alert of that id fires"));
        }
    }
    let what = match checked.alert {
        Some(id) => format!("alert {id}"),
        None => format!("alerts {}", checked.matcher),
    };
    let until = checked.ends_at;
    let reason = format!("a person muted them until {until}: {}", checked.reason);
    let wish = asker.wish(audit::Kind::Silence, what, reason);
    loaded.engine.audit_durably(wish.clone()).await?;
    let silence = loaded.notifier.change(move |core| core.silence(wanted, &author, now)).await;
    match silence.map_err(unchanged)? {
        Ok(silence) => Ok(Answer::json(&Line::of(&silence, now))),
        Err(why) => {
            note(
                loaded,
                Happening { decision: Decision::Refused, reason: why.to_string(), ..wish },
            );
            Err(refused(&why))
        }
    }
}

/// Ends one.
pub(super) async fn end(loaded: &Loaded, id: u64, asker: Asker<'_>) -> Result<Answer, Refused> {
    let none = || Refused::new(Kind::NotFound, "there is no silence of that number");
    let known =
        loaded.notifier.ask(move |core| core.silences.iter().find(|it| it.id == id).cloned());
    let silence = known.await.map_err(gone)?.ok_or_else(none)?;
    let reason = format!("a person ended what {} had muted: {}", silence.author, silence.reason);
    let wish = asker.wish(audit::Kind::Silence, format!("silence {id}"), reason);
    loaded.engine.audit_durably(wish).await?;
    let ended =
        loaded.notifier.change(move |core| core.end_silence(id)).await.map_err(unchanged)?;
    ended.map(|_| Answer::Done).ok_or_else(none)
}

fn note(loaded: &Loaded, happening: Happening) {
    if let Err(refusal) = loaded.engine.audit(happening) {
        tracing::warn!(cause = %refusal, "what came of a silence is not in the audit");
    }
}
