//! Addresses as shoutrrr has them, for those who bring theirs along from kured and others.
//!
//! One address becomes one [`Target`] of ours, which says more than shoutrrr does: severity, the end
//! of an alert, keys. What such an address fixes that follows from the alert here (title, colour,
//! severity) is left out, and named in [`Migrated::ignored`]. Messages of errors are made of fixed
//! words and the scheme: an address is a secret, and no part of it is shown.
//!
//! Source: the documentation and the parsing of containrrr/shoutrrr 0.8 and nicholas-fedor/shoutrrr.

mod chat;
mod generic;
mod incident;
mod mail;
mod push;
mod url;

use crate::receiver::Target;
use url::Address;

/// Bytes of an address. The longest known are those of workflows, percent-encoded: about 700.
pub const MAX_ADDRESS: usize = 4096;

/// What an address means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Whom it reaches.
    pub target: Target,
    /// Parameters of the address that have no effect here.
    pub ignored: Vec<&'static str>,
}

/// The text is no address that can be used. Shows nothing of it but its scheme. At fault: the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShoutrrrError {
    /// There is nothing in it.
    #[error("the address is empty")]
    Empty,
    /// A part is not as it has to be.
    #[error("{scheme}: {what}")]
    Malformed {
        /// The scheme.
        scheme: &'static str,
        /// Which part, and what is expected.
        what: &'static str,
    },
    /// A part is not there.
    #[error("{scheme}: {what} is missing")]
    Missing {
        /// The scheme.
        scheme: &'static str,
        /// Which part.
        what: &'static str,
    },
    /// It does not start with `scheme://`.
    #[error("the address does not start with a scheme, such as slack:// or generic+https://")]
    NoScheme,
    /// There are several.
    #[error("more than one address; each has a receiver of its own")]
    Several,
    /// Longer than [`MAX_ADDRESS`].
    #[error("the address has more than {MAX_ADDRESS} bytes")]
    TooLong,
    /// shoutrrr has it, or nobody.
    #[error("the scheme {scheme} is not known")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// shoutrrr has it, and we do not.
    #[error("{scheme} is not supported: {instead}")]
    Unsupported {
        /// The scheme.
        scheme: &'static str,
        /// Why, and what to use.
        instead: &'static str,
    },
}

/// The target of an address.
///
/// # Errors
/// [`ShoutrrrError`], with what to do and without any part of the address but its scheme.
pub fn parse(url: &str) -> Result<Target, ShoutrrrError> {
    migrate(url).map(|it| it.target)
}

/// The target of an address, and which of its parameters have no effect here.
///
/// # Errors
/// As [`parse`].
pub fn migrate(url: &str) -> Result<Migrated, ShoutrrrError> {
    let text = unquoted(url);
    if text.is_empty() {
        return Err(ShoutrrrError::Empty);
    }
    if text.len() > MAX_ADDRESS {
        return Err(ShoutrrrError::TooLong);
    }
    if text.split_whitespace().skip(1).any(|it| url::scheme(it).is_some()) {
        return Err(ShoutrrrError::Several);
    }
    let (scheme, rest) = url::scheme(text).ok_or(ShoutrrrError::NoScheme)?;
    let scheme = scheme.to_ascii_lowercase();
    let service = SERVICES.iter().find(|it| it.scheme == scheme);
    let Some(service) = service else {
        let refused = REFUSED.iter().find(|(name, _)| *name == scheme);
        return Err(match refused {
            Some((scheme, instead)) => ShoutrrrError::Unsupported { scheme, instead },
            None => ShoutrrrError::UnknownScheme { scheme },
        });
    };
    let address = Address::parse(service.scheme, rest)?;
    let target = (service.target)(&address)?;
    let ignored = service.ignored.iter().copied().filter(|it| address.has(it)).collect();
    Ok(Migrated { target, ignored })
}

/// Without the quotes that shells and manifests leave around.
fn unquoted(text: &str) -> &str {
    let mut text = text.trim();
    for quote in ['"', '\'', '`'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|it| it.strip_suffix(quote)) {
            text = inner.trim();
        }
    }
    text
}

struct Service {
    scheme: &'static str,
    target: fn(&Address<'_>) -> Result<Target, ShoutrrrError>,
    /// Parameters that it knows and that have no effect here.
    ignored: &'static [&'static str],
}

const SERVICES: [Service; 18] = [
    Service {
        scheme: "discord",
        target: chat::discord,
        ignored: &["avatar", "avatarurl", "color", "splitlines", "title", "username"],
    },
    Service { scheme: "generic", target: generic::plain, ignored: &["title"] },
    Service { scheme: "generic+http", target: generic::http, ignored: &["title"] },
    Service { scheme: "generic+https", target: generic::https, ignored: &["title"] },
    Service { scheme: "googlechat", target: chat::google, ignored: &[] },
    Service {
        scheme: "gotify",
        target: push::gotify,
        ignored: &["date", "extras", "insecureskipverify", "title", "useheader"],
    },
    Service { scheme: "hangouts", target: chat::google, ignored: &[] },
    Service {
        scheme: "mattermost",
        target: chat::mattermost,
        ignored: &["icon", "icon_emoji", "icon_url", "title"],
    },
    Service {
        scheme: "ntfy",
        target: push::ntfy,
        ignored: &[
            "actions",
            "attach",
            "cache",
            "click",
            "delay",
            "disabletlsverification",
            "email",
            "filename",
            "firebase",
            "icon",
            "markdown",
            "tags",
            "title",
        ],
    },
    Service {
        scheme: "opsgenie",
        target: incident::opsgenie,
        ignored: &[
            "actions",
            "alias",
            "description",
            "details",
            "entity",
            "note",
            "priority",
            "responders",
            "source",
            "tags",
            "title",
            "user",
            "visibleto",
        ],
    },
    Service {
        scheme: "pagerduty",
        target: incident::pagerduty,
        ignored: &[
            "action",
            "client",
            "client_url",
            "contexts",
            "dedup_key",
            "details",
            "severity",
            "source",
        ],
    },
    Service { scheme: "pushover", target: push::pushover, ignored: &["title"] },
    Service { scheme: "rocketchat", target: chat::rocket, ignored: &[] },
    Service {
        scheme: "slack",
        target: chat::slack,
        ignored: &["color", "icon", "icon_emoji", "icon_url", "thread_ts", "title"],
    },
    Service {
        scheme: "smtp",
        target: mail::smtp,
        ignored: &[
            "clienthost",
            "fromname",
            "requirestarttls",
            "skiptlsverify",
            "subject",
            "timeout",
            "title",
            "usehtml",
        ],
    },
    Service { scheme: "teams", target: chat::teams, ignored: &["color", "title"] },
    Service {
        scheme: "telegram",
        target: chat::telegram,
        ignored: &["notification", "parsemode", "preview", "title"],
    },
    Service { scheme: "zulip", target: chat::zulip, ignored: &["read_by_sender", "title"] },
];

/// What shoutrrr has and we have not, and what to use.
const REFUSED: [(&str, &str); 19] = [
    ("bark", "send to its server with generic+https://HOST/KEY?template=json&messagekey=body"),
    ("dingding", "let Alertmanager or a workflow of your own forward a webhook"),
    ("homeassistant", "use generic://HOST/api/webhook/ID?template=json"),
    ("http", "an address of a webhook is written generic+http://..., unencrypted"),
    ("https", "an address of a webhook is written generic+https://..., that of Slack slack://..."),
    ("ifttt", "use generic+https://maker.ifttt.com/trigger/EVENT/with/key/KEY?template=json"),
    ("join", "it answers neither failures nor limits; use ntfy, gotify or pushover"),
    ("lark", "its messages are signed in their body; let Alertmanager forward them"),
    ("logger", "what is sent is in the log of the collector anyway"),
    (
        "matrix",
        "it takes a login, a room and a number for each message; use a hookshot webhook with \
         generic+https://HOST/ID?template=json&messagekey=text",
    ),
    ("mqtt", "it is no HTTP; let a webhook receiver publish"),
    ("notifiarr", "use generic+https with its passthrough address"),
    ("pushbullet", "use ntfy, gotify or pushover"),
    ("script", "no program is started by an alert"),
    ("signal", "use its REST bridge behind a webhook receiver"),
    ("signalgrid", "use ntfy, gotify or pushover"),
    ("twilio", "use PagerDuty or Opsgenie for calls and short messages"),
    ("wecom", "use generic+https with a workflow that takes title and message"),
    ("xmpp", "it is no HTTP; use a bridge behind a webhook receiver"),
];

#[cfg(test)]
mod tests;
