//! What somebody wants: a [`Call`], made by one pure function from path, query, headers and body.

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_report::bound::clean_text;
use palisade_report::grant::GrantId;
use palisade_report::wire::GrantReport;
use palisade_report::wire::Heartbeat;
use palisade_report::wire::Upload;
use palisade_rules::FactPath;
use palisade_rules::Pattern;
use palisade_rules::RuleId;
use palisade_rules::Severity;
use palisade_rules::Verdict;

use super::query::DEFAULT_LIMIT;
use super::query::MalformedQuery;
use super::query::Plus;
use super::query::Query;
use super::query::decode;
use super::route::Matched;
use super::route::RouteName;
use crate::snapshot::NodeState;
use crate::store::AuditFilter;

mod alerts;
mod reboots;

pub use alerts::AlertsCall;
pub use alerts::AlertsQuery;
pub use alerts::Rehearsal;
pub use reboots::Errand;
pub use reboots::PlanQuery;
pub use reboots::Prose;

/// What somebody wants of the collector, parsed and bounded. Nothing in it is HTTP.
#[derive(Debug)]
pub enum Call {
    /// Something about alerts, silences or receivers.
    Alerts(AlertsCall),
    /// Entries of the audit, newest first.
    Audit(AuditQuery),
    /// Certificates by their end.
    Certificates(CertificatesQuery),
    /// What a person wants of the coordinator of reboots.
    Errand {
        /// For which node.
        node: NodeName,
        /// What.
        errand: Errand,
    },
    /// Why a node has not been rebooted.
    Explain {
        /// Which.
        node: NodeName,
        /// Written as.
        prose: Prose,
    },
    /// Values of one fact over the fleet.
    Facts(FactPath),
    /// Findings.
    Findings(FindingsQuery),
    /// What became of a grant.
    GrantAnswer {
        /// Who says it.
        node: NodeName,
        /// Of which grant.
        id: GrantId,
        /// What.
        report: GrantReport,
    },
    /// An agent's regular word.
    Heartbeat {
        /// Who says it.
        node: NodeName,
        /// What.
        heartbeat: Box<Heartbeat>,
    },
    /// Transitions of findings, newest first.
    History(HistoryQuery),
    /// The addresses, for people.
    Index,
    /// Whether the process runs.
    Live,
    /// Figures for Prometheus.
    Metrics,
    /// Figures of single certificates.
    MetricsOfCertificates,
    /// Figures of single nodes.
    MetricsOfNodes,
    /// One node, with the facts of these sections.
    Node {
        /// Which.
        node: NodeName,
        /// Sections whose facts are wanted too.
        facts: Vec<palisade_report::SectionName>,
    },
    /// One node on one page, as text for a person.
    NodeSheet(NodeName),
    /// Many nodes.
    Nodes(NodesQuery),
    /// The description of this API.
    OpenApi,
    /// Who reboots when, and what the others wait for.
    Plan(PlanQuery),
    /// Whether calls are answered and stored.
    Ready,
    /// Requests for reboots.
    Reboots,
    /// That a pool goes on after what failed in it.
    ReleasePool(String),
    /// Forget a node.
    Retire(NodeName),
    /// What is expected of nodes.
    Rules,
    /// Sections on their way up.
    Sections {
        /// Whose.
        node: NodeName,
        /// What.
        upload: Uploaded,
    },
    /// Counts over the fleet.
    Summary,
    /// Changes as they happen, after this event.
    Watch {
        /// The last event that the client saw.
        after: Option<i64>,
    },
    /// The plan under another policy.
    WhatIf {
        /// Its text.
        policy: String,
        /// Which nodes of it.
        query: PlanQuery,
    },
}

/// An upload, its sections still as the text that was sent.
#[derive(Debug)]
pub struct Uploaded {
    /// The report that they belong to.
    pub report: Digest,
    /// The boot during which it was made.
    pub boot_id: BootId,
    /// Text by name.
    pub sections: Vec<(String, Box<str>)>,
}

/// Filters over nodes.
#[derive(Clone, Debug, Default)]
pub struct NodesQuery {
    /// Only in this state.
    pub state: Option<NodeState>,
    /// Only with a finding that fits.
    pub finding: FindingFilter,
    /// Only names that fit this pattern.
    pub name: Option<Pattern>,
    /// Only after this name.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Filters over findings.
#[derive(Clone, Debug, Default)]
pub struct FindingFilter {
    /// Of this rule.
    pub rule: Option<RuleId>,
    /// With this verdict.
    pub verdict: Option<Verdict>,
    /// At least this severe.
    pub severity: Option<Severity>,
}

impl FindingFilter {
    /// Whether it lets everything pass.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let Self { rule, verdict, severity } = self;
        rule.is_none() && verdict.is_none() && severity.is_none()
    }

    /// Whether a finding fits.
    #[must_use]
    pub fn fits(&self, rule: &RuleId, verdict: Verdict, severity: Severity) -> bool {
        let Self { rule: wanted_rule, verdict: wanted_verdict, severity: at_least } = self;
        wanted_rule.as_ref().is_none_or(|wanted| wanted == rule)
            && wanted_verdict.is_none_or(|wanted| wanted == verdict)
            && at_least.is_none_or(|least| severity >= least)
    }
}

/// What stands behind one line of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// One line for each finding of each node.
    Node,
    /// One line for each rule, verdict and severity, with the number of nodes.
    #[default]
    Rule,
}

/// What a list is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, RFC 4180.
    Csv,
    /// JSON.
    #[default]
    Json,
}

/// Which findings, and how.
#[derive(Clone, Debug, Default)]
pub struct FindingsQuery {
    /// Lines.
    pub by: GroupBy,
    /// Only those that fit.
    pub filter: FindingFilter,
    /// Only of nodes whose name fits this pattern.
    pub name: Option<Pattern>,
    /// Only after this line.
    pub after: Option<String>,
    /// At most so many; `None`: not asked for.
    pub limit: Option<usize>,
    /// Written as.
    pub format: Format,
}

/// Which certificates.
#[derive(Clone, Debug, Default)]
pub struct CertificatesQuery {
    /// Only those that end within so long, or ended already.
    pub within: Option<std::time::Duration>,
    /// Only of this node.
    pub node: Option<NodeName>,
    /// Only after this line.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Which entries of the audit, and how.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only those that fit.
    pub filter: AuditFilter,
    /// Only before this one.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: usize,
    /// Written as.
    pub format: Format,
}

/// Which transitions.
#[derive(Clone, Debug, Default)]
pub struct HistoryQuery {
    /// Only of this node.
    pub node: Option<NodeName>,
    /// Only before this event.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// Why a request is no call. At fault: the peer.
#[derive(Debug, thiserror::Error)]
pub enum NoCall {
    /// The path names no alert.
    #[error("the path names no alert: {0}")]
    Alert(palisade_alert::key::MalformedAlertId),
    /// The body is no such message.
    #[error("the body is not a {what}: {source}")]
    Body {
        /// `heartbeat` or `section upload`.
        what: &'static str,
        /// What serde found.
        source: serde_json::Error,
    },
    /// The path names no grant.
    #[error("the path names no grant: {0}")]
    Grant(palisade_report::grant::MalformedUuid),
    /// The path names no node.
    #[error("{0}")]
    Node(palisade_report::id::MalformedNodeName),
    /// The path names no fact.
    #[error("`{path}` is not the path of a fact: expected section.field, such as kernel.release")]
    Fact {
        /// What was sent, made safe to show.
        path: String,
    },
    /// The query is malformed.
    #[error(transparent)]
    Query(#[from] MalformedQuery),
    /// A list of sections names one that does not exist.
    #[error("the parameter facts names an {0}")]
    Section(palisade_report::section::UnknownSection),
    /// The path names no silence.
    #[error("the path names no silence: expected its number")]
    Silence,
}

/// Makes a call of a request whose route is known.
///
/// `resume` is the `last-event-id` header, `body` the unpacked body; both are empty for most.
///
/// # Errors
/// [`NoCall`], in words for the peer.
pub fn parse(matched: &Matched, query: &str, resume: &str, body: &[u8]) -> Result<Call, NoCall> {
    let mut query = Query::parse(query)?;
    let parameter = decode(&matched.parameter, Plus::IsItself)?;
    let node = || parameter.parse::<NodeName>().map_err(NoCall::Node);
    let call = match matched.route.name {
        RouteName::Alerts(name) => Call::Alerts(alerts::parse(name, parameter, &mut query, body)?),
        RouteName::Approve => Call::Errand { node: node()?, errand: reboots::approval(body)? },
        RouteName::Audit => Call::Audit(AuditQuery {
            filter: AuditFilter {
                kind: query.value("kind")?,
                node: query.value("node")?,
                actor: query.text("actor"),
            },
            before: event(&mut query, "before")?,
            limit: query.limit()?.unwrap_or(DEFAULT_LIMIT),
            format: format(&mut query)?,
        }),
        RouteName::CancelReboot => Call::Errand { node: node()?, errand: Errand::Cancel },
        RouteName::Certificates => Call::Certificates(CertificatesQuery {
            within: query.span("within")?,
            node: query.value("node")?,
            after: query.text("after"),
            limit: query.limit()?.unwrap_or(DEFAULT_LIMIT),
        }),
        RouteName::Explain => Call::Explain { node: node()?, prose: reboots::prose(&mut query)? },
        RouteName::Facts => Call::Facts(
            parameter.parse().map_err(|_| NoCall::Fact { path: clean_text(&parameter) })?,
        ),
        RouteName::Findings => Call::Findings(findings(&mut query)?),
        RouteName::GrantAnswer => {
            let report = serde_json::from_slice(body)
                .map_err(|source| NoCall::Body { what: "answer to a grant", source })?;
            let id = decode(&matched.detail, Plus::IsItself)?.parse().map_err(NoCall::Grant)?;
            Call::GrantAnswer { node: node()?, id, report }
        }
        RouteName::Heartbeat => {
            let heartbeat = serde_json::from_slice(body)
                .map_err(|source| NoCall::Body { what: "heartbeat", source })?;
            Call::Heartbeat { node: node()?, heartbeat }
        }
        RouteName::History => Call::History(HistoryQuery {
            node: query.value("node")?,
            before: event(&mut query, "before")?,
            limit: query.limit()?.unwrap_or(DEFAULT_LIMIT),
        }),
        RouteName::Index => Call::Index,
        RouteName::Live => Call::Live,
        RouteName::Metrics => Call::Metrics,
        RouteName::MetricsOfCertificates => Call::MetricsOfCertificates,
        RouteName::MetricsOfNodes => Call::MetricsOfNodes,
        RouteName::Node => one_node(node()?, &mut query)?,
        RouteName::Nodes => Call::Nodes(NodesQuery {
            state: query.value("state")?,
            finding: filter(&mut query)?,
            name: pattern(&mut query)?,
            after: query.text("after"),
            limit: query.limit()?.unwrap_or(DEFAULT_LIMIT),
        }),
        RouteName::OpenApi => Call::OpenApi,
        RouteName::Plan => Call::Plan(reboots::plan(&mut query)?),
        RouteName::Ready => Call::Ready,
        RouteName::Reboots => Call::Reboots,
        RouteName::Release => Call::Errand { node: node()?, errand: Errand::Release },
        RouteName::ReleasePool => Call::ReleasePool(parameter),
        RouteName::RequestReboot => {
            let (node, errand) = reboots::request(body)?;
            Call::Errand { node, errand }
        }
        RouteName::Retire => Call::Retire(node()?),
        RouteName::Rules => Call::Rules,
        RouteName::Sections => Call::Sections { node: node()?, upload: uploaded(body)? },
        RouteName::Summary => Call::Summary,
        RouteName::Watch => {
            // A browser that lost the connection says where it was in the header.
            let asked = event(&mut query, "after")?;
            Call::Watch { after: resume.trim().parse().ok().or(asked) }
        }
        RouteName::WhatIf => {
            let policy = reboots::what_if(body)?;
            Call::WhatIf { policy, query: reboots::plan(&mut query)? }
        }
    };
    query.end()?;
    Ok(call)
}

/// The id of a change.
fn event(query: &mut Query, name: &'static str) -> Result<Option<i64>, MalformedQuery> {
    let Some(text) = query.text(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| MalformedQuery::Value {
        name,
        value: clean_text(&text),
        expected: "expected the id of a change".to_owned(),
    })
}

fn pattern(query: &mut Query) -> Result<Option<Pattern>, MalformedQuery> {
    let Some(text) = query.text("name") else { return Ok(None) };
    Pattern::new(&text).map(Some).ok_or_else(|| MalformedQuery::Value {
        name: "name",
        value: clean_text(&text),
        expected: "expected a name with * and ? of at most 256 bytes".to_owned(),
    })
}

fn filter(query: &mut Query) -> Result<FindingFilter, MalformedQuery> {
    Ok(FindingFilter {
        rule: query.value("rule")?,
        verdict: query.value("verdict")?,
        severity: query.value("severity")?,
    })
}

fn findings(query: &mut Query) -> Result<FindingsQuery, MalformedQuery> {
    let one_of = |name: &'static str, value: &str, expected: &str| MalformedQuery::Value {
        name,
        value: clean_text(value),
        expected: expected.to_owned(),
    };
    let by = match query.text("by").as_deref() {
        None | Some("rule") => GroupBy::Rule,
        Some("node") => GroupBy::Node,
        Some(other) => return Err(one_of("by", other, "expected rule or node")),
    };
    Ok(FindingsQuery {
        by,
        format: format(query)?,
        filter: filter(query)?,
        name: pattern(query)?,
        after: query.text("after"),
        limit: query.limit()?,
    })
}

fn format(query: &mut Query) -> Result<Format, MalformedQuery> {
    match query.text("format").as_deref() {
        None | Some("json") => Ok(Format::Json),
        Some("csv") => Ok(Format::Csv),
        Some(other) => Err(MalformedQuery::Value {
            name: "format",
            value: clean_text(other),
            expected: "expected json or csv".to_owned(),
        }),
    }
}

/// One node: everything as JSON, or its sheet as text.
fn one_node(node: NodeName, query: &mut Query) -> Result<Call, NoCall> {
    let facts = sections(query)?;
    match query.text("format").as_deref() {
        None | Some("json") => Ok(Call::Node { node, facts }),
        Some("text") if facts.is_empty() => Ok(Call::NodeSheet(node)),
        Some(other) => Err(NoCall::Query(MalformedQuery::Value {
            name: "format",
            value: clean_text(other),
            expected: "expected json, or text without facts".to_owned(),
        })),
    }
}

/// `facts=kernel,sysctls`, or `facts=all`.
fn sections(query: &mut Query) -> Result<Vec<palisade_report::SectionName>, NoCall> {
    match query.text("facts").as_deref() {
        None => Ok(Vec::new()),
        Some("all") => Ok(palisade_report::SectionName::ALL.to_vec()),
        Some(names) => names
            .split(',')
            .map(|name| name.trim().parse().map_err(NoCall::Section))
            .collect::<Result<_, _>>(),
    }
}

/// Whether a body of an agent names another node than `own`. The wire has no such field; whoever
/// sends it says whose it takes the message for.
///
/// # Errors
/// [`NoCall::Body`]: it is no object.
pub fn names_another(body: &[u8], own: &NodeName) -> Result<bool, NoCall> {
    #[derive(serde::Deserialize)]
    struct Named<'b> {
        #[serde(default, borrow)]
        node: Option<&'b serde_json::value::RawValue>,
    }
    let Named { node } =
        serde_json::from_slice(body).map_err(|source| NoCall::Body { what: "message", source })?;
    let Some(node) = node else { return Ok(false) };
    let named: Option<String> = serde_json::from_str(node.get()).ok();
    Ok(named.as_deref() != Some(own.as_str()))
}

fn uploaded(body: &[u8]) -> Result<Uploaded, NoCall> {
    let upload: Upload<'_> = serde_json::from_slice(body)
        .map_err(|source| NoCall::Body { what: "section upload", source })?;
    let Upload { report, boot_id, sections } = upload;
    let sections = sections.into_iter().map(|(name, raw)| (name, raw.get().into())).collect();
    Ok(Uploaded { report, boot_id, sections })
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::super::route;
    use super::*;

    fn call(method: Method, target: &str, body: &str) -> Result<Call, NoCall> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        parse(&route::find(&method, path).unwrap(), query, "", body.as_bytes())
    }

    #[test]
    fn filters_reach_the_call() {
        let target = "/v1/findings?by=node&rule=sysctl.kptr-restrict&severity=high&format=csv";
        let Ok(Call::Findings(query)) = call(Method::GET, target, "") else { panic!("no call") };
        assert_eq!((query.by, query.format), (GroupBy::Node, Format::Csv));
        assert_eq!(query.filter.severity, Some(Severity::High));
        assert!(query.filter.verdict.is_none());
    }

    #[test]
    fn one_node_is_a_document_or_a_sheet() {
        let of = |query: &str| call(Method::GET, &format!("/v1/nodes/a{query}"), "");
        assert!(matches!(of("?format=text"), Ok(Call::NodeSheet(_))));
        assert!(matches!(of("?format=json&facts=kernel"), Ok(Call::Node { .. })));
        for query in ["?format=csv", "?format=text&facts=kernel"] {
            let refused = of(query).unwrap_err().to_string();
            assert!(refused.contains("expected json, or text"), "{refused}");
        }
    }

    #[test]
    fn hostile_node_names_are_refused_without_being_repeated() {
        for name in ["a%0a", "%00", "..%2fetc", "a%e2%80%aeb", "A", "%1b[31m"] {
            let refused = call(Method::GET, &format!("/v1/nodes/{name}"), "").unwrap_err();
            let text = refused.to_string();
            assert!(matches!(refused, NoCall::Node(_)), "{name}: {text}");
            assert!(!text.chars().any(char::is_control), "{text}");
        }
    }

    #[test]
    fn a_body_may_name_its_own_node_and_no_other() {
        let own = "worker-1".parse().unwrap();
        for (body, other) in [
            ("{}", false),
            (r#"{"node":"worker-1"}"#, false),
            (r#"{"node":"worker\u002d1"}"#, false),
            (r#"{"node":"worker-2"}"#, true),
            (r#"{"node":"WORKER-1"}"#, true),
            (r#"{"node":"worker-1 "}"#, true),
            (r#"{"node":7}"#, true),
            (r#"{"node":null}"#, false),
            (r#"{"node":["worker-1"]}"#, true),
        ] {
            assert_eq!(names_another(body.as_bytes(), &own).unwrap(), other, "{body}");
        }
        assert!(names_another(br#"{"node":"worker-1","node":"worker-2"}"#, &own).is_err());
        assert!(names_another(b"{", &own).is_err());
    }

    #[test]
    fn a_section_given_twice_is_refused() {
        let body = format!(
            r#"{{"report":"{}","boot_id":"0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11","sections":{{"kernel":1,"kernel":2}}}}"#,
            Digest::of(b"")
        );
        let refused = call(Method::PUT, "/v1/nodes/a/sections", &body).unwrap_err().to_string();
        assert!(refused.contains("twice"), "{refused}");
    }

    #[test]
    fn a_body_that_is_no_heartbeat_says_where() {
        for body in ["", "{", "[]", "null", "{\"wire\":1}", "{\"wire\":1,\"wire\":1}"] {
            let refused = call(Method::POST, "/v1/nodes/a/heartbeat", body).unwrap_err();
            assert!(matches!(refused, NoCall::Body { .. }), "{body}");
            assert!(refused.to_string().contains("line"), "{refused}");
        }
    }
}
