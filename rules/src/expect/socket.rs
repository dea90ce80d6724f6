//! `socket`: who may listen where. Listening is evidence; a flag is only an intention.

use std::net::IpAddr;

use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use serde_json::Value;

use super::Looked;
use super::MAX_SUBJECTS;
use super::Outcome;
use super::Scene;
use super::Source;
use crate::body::Body;
use crate::body::MalformedBody;
use crate::compare::show;
use crate::facts::FactPath;
use crate::facts::Found;
use crate::facts::look_through;

/// Bytes of a process's name that the kernel keeps (`TASK_COMM_LEN` less its end).
const MAX_COMM: usize = 15;

/// Listeners that may be there.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    source: Source,
    protocol: Option<Protocol>,
    /// First and last port of each range; every port if empty.
    ports: Vec<(u16, u16)>,
    except_ports: Vec<(u16, u16)>,
    allow: Allow,
    owners: Vec<Box<str>>,
    except_owners: Vec<Box<str>>,
    about: Box<str>,
    expected: Box<str>,
}

/// A transport protocol, as the report writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Where may be listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allow {
    Any,
    Loopback,
    None,
}

/// A listener of the report.
struct Listener<'a> {
    protocol: &'a str,
    address: &'a str,
    port: u16,
    owner: Found<'a>,
}

impl<'a> Listener<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        Some(Self {
            protocol: value.get("protocol")?.as_str()?,
            address: value.get("address")?.as_str()?,
            port: value.get("port")?.as_u64().and_then(|port| u16::try_from(port).ok())?,
            owner: look_through(value.get("owner")?),
        })
    }

    fn subject(&self) -> String {
        let Self { protocol, address, port, owner: _ } = self;
        if address.contains(':') {
            format!("{protocol} [{address}]:{port}")
        } else {
            format!("{protocol} {address}:{port}")
        }
    }

    /// The program that holds it: the name of its file, where that may be seen. The process's own
    /// name is what it calls itself.
    fn owner_name(&self) -> Option<&'a str> {
        match self.owner {
            Found::Known(owner, _) => {
                let executable = owner.get("executable").and_then(Value::as_str);
                let executable = executable.unwrap_or_default();
                let program = executable.strip_suffix(" (deleted)").unwrap_or(executable);
                match program.rsplit('/').next() {
                    Some(program) if !program.is_empty() => Some(program),
                    Some(_) | None => owner.get("name").and_then(Value::as_str),
                }
            }
            Found::Absent(_) => Some("kernel"),
            Found::Unknown(_) => None,
        }
    }
}

impl Socket {
    /// Words: `port` or `ports` (numbers, or ranges as `"30000-32767"`), `except_ports`,
    /// `protocol` (tcp or udp; both if not given), `allow` (none, loopback or any), `owners`
    /// (names of the processes that may listen; `kernel` for its own sockets), `except_owners`
    /// (whose sockets the rule does not speak of).
    pub(crate) fn parse(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let protocol = body.choice(
            "protocol",
            &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)],
            "tcp or udp",
        )?;
        let ranges = |word| {
            let expected = "a port, a range such as \"1-1023\", or a list of them";
            body.list(word, expected, range).map(Option::unwrap_or_default)
        };
        let mut ports = ranges("ports")?;
        ports.extend(ranges("port")?);
        let except_ports = ranges("except_ports")?;
        let allows = [("any", Allow::Any), ("loopback", Allow::Loopback), ("none", Allow::None)];
        let allow = body.choice("allow", &allows, "none, loopback or any")?;
        let owners = body.texts("owners")?;
        let except_owners = body.texts("except_owners")?;
        let allow = match allow {
            Some(Allow::Any) | None if owners.is_empty() => {
                return Err(MalformedBody::Missing { word: "allow" });
            }
            None => Allow::Any,
            Some(allow) => allow,
        };
        let mut about = protocol.map_or("any port", Protocol::as_str).to_owned();
        if !ports.is_empty() {
            let one = |(first, last): &(u16, u16)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            };
            let list = ports.iter().map(one).collect::<Vec<_>>().join(", ");
            about = format!("{} {list}", protocol.map_or("port", Protocol::as_str));
        }
        let mut expected = match allow {
            Allow::Any => format!("listeners on {about}"),
            Allow::Loopback => format!("listeners on {about} on a loopback address only"),
            Allow::None => format!("nobody listens on {about}"),
        };
        if !owners.is_empty() {
            expected.push_str(&format!(", owned by {}", owners.join(" or ")));
        }
        Ok(Self {
            source: Source::parse("sockets.listeners")?,
            protocol,
            ports,
            except_ports,
            allow,
            owners,
            except_owners,
            about: about.into(),
            expected: clean(expected.as_bytes(), MAX_TEXT).into(),
        })
    }

    pub(crate) fn reads(&self) -> Vec<FactPath> {
        vec![self.source.path().clone()]
    }

    pub(crate) fn judge(&self, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
        let fact = self.source.shown();
        let (listeners, origin) = match self.source.look(scene.facts) {
            Looked::Known(Value::Array(listeners), origin) => (listeners, origin),
            Looked::Known(..) => {
                return out.push(Outcome::unknown(fact, "expected a list", &self.expected));
            }
            Looked::Absent(origin) | Looked::NoKubelet(origin) => {
                let reason = "this host has no network sockets";
                return out.push(Outcome::not_applicable(fact, reason, origin));
            }
            Looked::Unknown(why) => {
                return out.push(Outcome::unknown_because(fact, why, &self.expected));
            }
        };
        let before = out.len();
        let mut allowed: usize = 0;
        for value in listeners {
            if out.len().saturating_sub(before) > MAX_SUBJECTS {
                break;
            }
            let Some(listener) = Listener::of(value) else {
                let reason = format!("malformed listener: {}", show(value));
                out.push(Outcome::unknown(fact, reason, &self.expected).about("malformed"));
                continue;
            };
            if !self.speaks_of(&listener) {
                continue;
            }
            match self.allows(&listener) {
                Some(true) => allowed = allowed.saturating_add(1),
                Some(false) => {
                    let owner = listener.owner_name().unwrap_or("a process that may not be seen");
                    let observed = format!("{} by {owner}", listener.subject());
                    let observed = clean(observed.as_bytes(), MAX_TEXT);
                    let outcome = Outcome::seen(false, fact, observed, origin, &self.expected);
                    out.push(outcome.about(&listener.subject()));
                }
                None => {
                    let outcome = match listener.owner {
                        Found::Unknown(why) => Outcome::unknown_because(fact, why, &self.expected),
                        Found::Absent(_) | Found::Known(..) => {
                            Outcome::unknown(fact, "malformed owner or address", &self.expected)
                        }
                    };
                    out.push(outcome.about(&listener.subject()));
                }
            }
        }
        if out.len() == before {
            let observed = if allowed == 0 {
                format!("nobody listens on {}", self.about)
            } else {
                format!("{allowed} listeners on {}, all allowed", self.about)
            };
            let observed = clean(observed.as_bytes(), MAX_TEXT);
            out.push(Outcome::seen(true, fact, observed, origin, &self.expected));
        }
    }

    fn speaks_of(&self, listener: &Listener<'_>) -> bool {
        let within = |ranges: &[(u16, u16)]| {
            ranges.iter().any(|(first, last)| (*first..=*last).contains(&listener.port))
        };
        (self.ports.is_empty() || within(&self.ports))
            && !within(&self.except_ports)
            && self.protocol.is_none_or(|protocol| protocol.as_str() == listener.protocol)
            && !listener.owner_name().is_some_and(|name| is_among(name, &self.except_owners))
    }

    /// Whether the listener may be there; `None` if that cannot be told.
    fn allows(&self, listener: &Listener<'_>) -> Option<bool> {
        match self.allow {
            Allow::Any => {}
            Allow::None => return self.unless_excepted(listener),
            Allow::Loopback => {
                let address: IpAddr = listener.address.parse().ok()?;
                if !address.to_canonical().is_loopback() {
                    return self.unless_excepted(listener);
                }
            }
        }
        if self.owners.is_empty() {
            return Some(true);
        }
        listener.owner_name().map(|name| is_among(name, &self.owners))
    }

    /// Not allowed; but where the rule does not speak of some owners, an unseen one may be of them.
    fn unless_excepted(&self, listener: &Listener<'_>) -> Option<bool> {
        let unseen = !self.except_owners.is_empty() && listener.owner_name().is_none();
        if unseen { None } else { Some(false) }
    }
}

/// Compares as much of a name as the kernel keeps.
fn is_among(name: &str, names: &[Box<str>]) -> bool {
    let kept = |text: &str| text.as_bytes().get(..MAX_COMM).unwrap_or(text.as_bytes()).to_vec();
    names.iter().any(|it| **it == *name || kept(it) == name.as_bytes())
}

fn range(value: &Value) -> Option<(u16, u16)> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match value {
        Value::Number(number) => {
            let port = number.as_u64().and_then(|port| u16::try_from(port).ok())?;
            (port > 0).then_some((port, port))
        }
        Value::String(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (first, last) = (port(first)?, port(last)?);
            (first <= last).then_some((first, last))
        }
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => None,
    }
}
