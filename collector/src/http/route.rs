//! The addresses: which method and path is which call, and who may make it.
//!
//! One table; the index page, `/openapi.json` and a test are compared with it.

use hyper::Method;

/// What a route does, before its parameters are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteName {
    /// Alerts, silences and receivers.
    Alerts(AlertsRoute),
    /// Let the reasons of a request be acted upon.
    Approve,
    /// Who was refused what, and what was done.
    Audit,
    /// End a request.
    CancelReboot,
    /// Certificates by their end.
    Certificates,
    /// Why a node has not been rebooted.
    Explain,
    /// Values of one fact over the fleet.
    Facts,
    /// Findings, by rule or by node.
    Findings,
    /// What became of a grant.
    GrantAnswer,
    /// An agent's regular word.
    Heartbeat,
    /// Transitions of findings.
    History,
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
    /// One node.
    Node,
    /// Many nodes.
    Nodes,
    /// The description of this API.
    OpenApi,
    /// Who reboots when.
    Plan,
    /// Whether calls are answered and stored.
    Ready,
    /// Requests for reboots.
    Reboots,
    /// Let go of a node that did not come back well.
    Release,
    /// Let a pool go on after failures.
    ReleasePool,
    /// Ask for a reboot.
    RequestReboot,
    /// Forget a node.
    Retire,
    /// What is expected of nodes.
    Rules,
    /// Sections on their way up.
    Sections,
    /// Counts over the fleet.
    Summary,
    /// Changes as they happen.
    Watch,
    /// The plan under another policy.
    WhatIf,
}

/// The same, of alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertsRoute {
    /// What alerts there are, and what they mean.
    Catalogue,
    /// End a silence.
    EndSilence,
    /// Alerts.
    List,
    /// One alert.
    One,
    /// One receiver.
    Receiver,
    /// Who is told, and what became of it.
    Receivers,
    /// Who would be told.
    Rehearse,
    /// Send again what was put aside.
    Replay,
    /// Mute alerts for a while.
    Silence,
    /// Silences.
    Silences,
    /// Send a message to try a receiver out.
    Test,
}

impl AlertsRoute {
    /// Whether it changes something, or somebody hears of it.
    #[must_use]
    pub const fn acts(self) -> bool {
        match self {
            Self::EndSilence | Self::Replay | Self::Silence | Self::Test => true,
            Self::Catalogue
            | Self::List
            | Self::One
            | Self::Receiver
            | Self::Receivers
            | Self::Rehearse
            | Self::Silences => false,
        }
    }
}

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// Agents only.
    Agents,
    /// Anybody; the answer holds nothing worth hiding.
    Anybody,
    /// People who may change things.
    Operators,
    /// People and tools that ask.
    Viewers,
    /// Like viewers, but anybody when the collector listens on loopback only.
    ViewersUnlessLoopback,
}

/// One address.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The call.
    pub name: RouteName,
    /// The method.
    pub method: &'static str,
    /// The path; `{…}` stands for one segment, at the end for all that remain.
    pub path: &'static str,
    /// Who may.
    pub audience: Audience,
    /// What it answers, in a few words for the index page.
    pub about: &'static str,
}

const fn route(
    name: RouteName,
    method: &'static str,
    path: &'static str,
    audience: Audience,
    about: &'static str,
) -> Route {
    Route { name, method, path, audience, about }
}

/// Every address that is served.
pub const ROUTES: [Route; 41] = {
    use AlertsRoute as L;
    use Audience as A;
    use RouteName as N;
    [
        route(N::Index, "GET", "/", A::ViewersUnlessLoopback, "this page"),
        route(N::Summary, "GET", "/v1/summary", A::Viewers, "counts over the fleet"),
        route(
            N::Findings,
            "GET",
            "/v1/findings",
            A::Viewers,
            "findings by rule; ?by=node for each",
        ),
        route(N::Nodes, "GET", "/v1/nodes", A::Viewers, "nodes and their state"),
        route(N::Node, "GET", "/v1/nodes/{node}", A::Viewers, "one node; ?facts=kernel,sysctls"),
        route(
            N::Explain,
            "GET",
            "/v1/nodes/{node}/explain",
            A::Viewers,
            "why it has not been rebooted; ?format=text",
        ),
        route(N::Plan, "GET", "/v1/plan", A::Viewers, "who reboots when, and why not yet"),
        route(N::WhatIf, "POST", "/v1/plan", A::Viewers, "the same under another policy"),
        route(N::Reboots, "GET", "/v1/reboots", A::Viewers, "requests for reboots"),
        route(N::RequestReboot, "POST", "/v1/reboots", A::Operators, "ask for a reboot"),
        route(
            N::Approve,
            "POST",
            "/v1/reboots/{node}/approve",
            A::Operators,
            "let its reasons be acted upon",
        ),
        route(
            N::Release,
            "POST",
            "/v1/reboots/{node}/release",
            A::Operators,
            "let go of a node that did not come back well",
        ),
        route(
            N::ReleasePool,
            "POST",
            "/v1/pools/{pool}/release",
            A::Operators,
            "let a pool go on after reboots that failed",
        ),
        route(N::CancelReboot, "DELETE", "/v1/reboots/{node}", A::Operators, "end a request"),
        route(N::Alerts(L::List), "GET", "/v1/alerts", A::Viewers, "alerts; ?format=text"),
        route(
            N::Alerts(L::Catalogue),
            "GET",
            "/v1/alerts/catalogue",
            A::Viewers,
            "what alerts there are, and what they mean",
        ),
        route(
            N::Alerts(L::One),
            "GET",
            "/v1/alerts/{id}",
            A::Viewers,
            "one alert, and why who is told",
        ),
        route(
            N::Alerts(L::Rehearse),
            "POST",
            "/v1/alerts/route",
            A::Viewers,
            "who would be told of an alert",
        ),
        route(N::Alerts(L::Silences), "GET", "/v1/silences", A::Viewers, "who muted what"),
        route(
            N::Alerts(L::Silence),
            "POST",
            "/v1/silences",
            A::Operators,
            "mute alerts for a while, or acknowledge one",
        ),
        route(
            N::Alerts(L::EndSilence),
            "DELETE",
            "/v1/silences/{id}",
            A::Operators,
            "end a silence",
        ),
        route(
            N::Alerts(L::Receivers),
            "GET",
            "/v1/receivers",
            A::Viewers,
            "who is told, and what became of it",
        ),
        route(
            N::Alerts(L::Receiver),
            "GET",
            "/v1/receivers/{name}",
            A::Viewers,
            "one receiver, with what was put aside",
        ),
        route(
            N::Alerts(L::Test),
            "POST",
            "/v1/receivers/{name}/test",
            A::Operators,
            "send a message to try it out",
        ),
        route(
            N::Alerts(L::Replay),
            "POST",
            "/v1/receivers/{name}/replay",
            A::Operators,
            "send again what was put aside",
        ),
        route(N::Certificates, "GET", "/v1/certificates", A::Viewers, "certificates by their end"),
        route(N::Facts, "GET", "/v1/facts/{path}", A::Viewers, "values of one fact over the fleet"),
        route(N::Rules, "GET", "/v1/rules", A::Viewers, "what is expected of nodes, and why"),
        route(N::History, "GET", "/v1/history", A::Viewers, "what changed, newest first"),
        route(N::Audit, "GET", "/v1/audit", A::Viewers, "who was refused what, newest first"),
        route(N::Watch, "GET", "/v1/watch", A::Viewers, "changes as server-sent events"),
        route(N::Metrics, "GET", "/metrics", A::ViewersUnlessLoopback, "figures for Prometheus"),
        route(
            N::MetricsOfCertificates,
            "GET",
            "/metrics/certificates",
            A::ViewersUnlessLoopback,
            "figures of single certificates, for Prometheus",
        ),
        route(
            N::MetricsOfNodes,
            "GET",
            "/metrics/nodes",
            A::ViewersUnlessLoopback,
            "figures of single nodes, for Prometheus",
        ),
        route(N::OpenApi, "GET", "/openapi.json", A::ViewersUnlessLoopback, "this API, described"),
        route(N::Live, "GET", "/livez", A::Anybody, "whether the process runs"),
        route(N::Ready, "GET", "/readyz", A::Anybody, "whether calls are answered and stored"),
        route(N::Retire, "DELETE", "/v1/nodes/{node}", A::Operators, "forget a node that is gone"),
        route(N::Heartbeat, "POST", "/v1/nodes/{node}/heartbeat", A::Agents, "for agents"),
        route(N::GrantAnswer, "POST", "/v1/nodes/{node}/grants/{id}", A::Agents, "for agents"),
        route(N::Sections, "PUT", "/v1/nodes/{node}/sections", A::Agents, "for agents"),
    ]
};

/// A route, and what stood in place of its `{…}`.
#[derive(Clone, Debug)]
pub struct Matched {
    /// The route.
    pub route: Route,
    /// The variable part, percent-encoded as sent; empty if it has none. The node, if it names one.
    pub parameter: String,
    /// The second variable part, alike.
    pub detail: String,
}

/// Why a request has no route. At fault: the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// Nothing at this path.
    #[error("there is nothing at this address; / lists the addresses")]
    Path,
    /// Something is there, for other methods.
    #[error("this address takes {allowed} only")]
    Method {
        /// The methods, separated by `, `.
        allowed: String,
    },
}

/// The route of a request. `HEAD` is taken as `GET`.
///
/// # Errors
/// [`NoRoute`].
pub fn find(method: &Method, path: &str) -> Result<Matched, NoRoute> {
    let wanted = if *method == Method::HEAD { Method::GET.as_str() } else { method.as_str() };
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some((parameter, detail)) = parameters_of(route.path, path) else { continue };
        if route.method == wanted {
            let (parameter, detail) = (parameter.to_owned(), detail.to_owned());
            return Ok(Matched { route, parameter, detail });
        }
        allowed.push(route.method);
    }
    if allowed.is_empty() {
        return Err(NoRoute::Path);
    }
    Err(NoRoute::Method { allowed: allowed.join(", ") })
}

/// What `path` has in place of the `{…}` of `template`, of which there are two at most; empty for one
/// that is not there.
fn parameters_of<'p>(template: &str, path: &'p str) -> Option<(&'p str, &'p str)> {
    let Some((before, rest)) = template.split_once('{') else {
        return (template == path).then_some(("", ""));
    };
    let (name, after) = rest.split_once('}')?;
    let rest = path.strip_prefix(before)?;
    // Only a fact's path may hold slashes: `files.paths./etc/passwd.mode`.
    let fits = |it: &str| !it.is_empty() && (name == "path" || !it.contains('/'));
    let Some((between, _)) = after.split_once('{') else {
        let parameter = rest.strip_suffix(after)?;
        return fits(parameter).then_some((parameter, ""));
    };
    let (parameter, detail) = rest.split_once(between)?;
    (fits(parameter) && fits(detail)).then_some((parameter, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> Result<(RouteName, String), NoRoute> {
        find(&method.parse().unwrap(), path).map(|it| (it.route.name, it.parameter))
    }

    #[test]
    fn paths_find_their_route_and_parameter() {
        assert_eq!(found("GET", "/"), Ok((RouteName::Index, String::new())));
        assert_eq!(found("HEAD", "/v1/nodes"), Ok((RouteName::Nodes, String::new())));
        assert_eq!(found("GET", "/v1/nodes/a"), Ok((RouteName::Node, "a".to_owned())));
        assert_eq!(
            found("POST", "/v1/nodes/a/heartbeat"),
            Ok((RouteName::Heartbeat, "a".to_owned()))
        );
        assert_eq!(
            found("GET", "/v1/facts/files.paths./etc/passwd.mode"),
            Ok((RouteName::Facts, "files.paths./etc/passwd.mode".to_owned()))
        );
        let two = find(&Method::POST, "/v1/nodes/a/grants/7").unwrap();
        let expected = (RouteName::GrantAnswer, "a", "7");
        assert_eq!((two.route.name, two.parameter.as_str(), two.detail.as_str()), expected);
    }

    #[test]
    fn what_is_not_there_and_what_takes_other_methods_differ() {
        for path in [
            "",
            "/v1",
            "/v1/nodes/",
            "/v1/nodes/a/b",
            "/v1/nodes/a/grants/",
            "/v1/nodes/a/grants/b/c",
            "/v1/facts/",
            "//",
            "/V1/nodes",
        ] {
            assert_eq!(found("GET", path), Err(NoRoute::Path), "{path}");
        }
        let allowed = "GET, DELETE".to_owned();
        assert_eq!(found("POST", "/v1/nodes/a"), Err(NoRoute::Method { allowed }));
    }
}
