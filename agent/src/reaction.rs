//! What an answer's status means for the agent: one table, for every route.

use hyper::StatusCode;

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Wait and try again, longer each time.
    BackOff,
    /// It worked.
    Continue,
    /// Never send this body again; what it was about goes in the next report anew.
    DropBody,
    /// A newer number of a heartbeat is taken already: log, wait, go on with a higher one.
    Overtaken,
    /// Write bodies in another encoding.
    OtherEncoding,
    /// The collector does not know the route or method: it is older than this agent.
    OlderCollector,
    /// Present the token once more, as it is on disk now; then back off.
    Reauthenticate,
    /// Not this node, or not admitted: minutes.
    Refused,
    /// Send it in smaller parts.
    Split,
}

impl Reaction {
    /// The reaction to `status`.
    #[must_use]
    pub fn to(status: StatusCode) -> Self {
        if status.is_success() {
            return Self::Continue;
        }
        match status.as_u16() {
            400 | 422 => Self::DropBody,
            401 => Self::Reauthenticate,
            403 => Self::Refused,
            404 | 405 => Self::OlderCollector,
            409 => Self::Overtaken,
            413 => Self::Split,
            415 => Self::OtherEncoding,
            408 | 425 | 429 => Self::BackOff,
            code if (400..500).contains(&code) => Self::DropBody,
            // A redirect is never followed; a server's error, or nonsense, may pass.
            _ => Self::BackOff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_reaction() {
        for (codes, reaction) in [
            (&[200, 202, 204][..], Reaction::Continue),
            (&[400, 422, 402, 406, 410, 418, 451], Reaction::DropBody),
            (&[401], Reaction::Reauthenticate),
            (&[403], Reaction::Refused),
            (&[404, 405], Reaction::OlderCollector),
            (&[409], Reaction::Overtaken),
            (&[413], Reaction::Split),
            (&[415], Reaction::OtherEncoding),
            (&[408, 425, 429, 500, 502, 503, 504, 301, 307, 100], Reaction::BackOff),
        ] {
            for code in codes {
                let status = StatusCode::from_u16(*code).unwrap();
                assert_eq!(Reaction::to(status), reaction, "{code}");
            }
        }
    }
}
