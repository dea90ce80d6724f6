//! What people and tools may do: one table of permissions, and the question to the API server.
//!
//! | address | verb | resource of group `palisade.dev` | name |
//! |---|---|---|---|
//! | `GET /` | get | `summary` | |
//! | `GET /v1/summary` | get | `summary` | |
//! | `GET /v1/findings` | list | `findings` | |
//! | `GET /v1/nodes` | list | `nodes` | |
//! | `GET /v1/nodes/{node}` | get | `nodes` | the node |
//! | `DELETE /v1/nodes/{node}` | delete | `nodes` | the node |
//! | `GET /v1/nodes/{node}/explain` | get | `nodes` | the node |
//! | `GET /v1/plan`, `POST /v1/plan`, `GET /v1/reboots` | list | `rebootrequests` | |
//! | `POST /v1/reboots` | create | `rebootrequests` | |
//! | `POST /v1/reboots/{node}/approve`, `POST /v1/reboots/{node}/release` | approve | `rebootrequests` | |
//! | `POST /v1/pools/{pool}/release` | approve | `rebootrequests` | |
//! | `DELETE /v1/reboots/{node}` | update | `rebootrequests` | |
//! | `GET /v1/alerts`, `GET /v1/alerts/catalogue`, `POST /v1/alerts/route` | list | `alerts` | |
//! | `GET /v1/alerts/{id}` | get | `alerts` | |
//! | `GET /v1/silences` | list | `silences` | |
//! | `POST /v1/silences` | create | `silences` | |
//! | `DELETE /v1/silences/{id}` | delete | `silences` | |
//! | `GET /v1/receivers` | list | `receivers` | |
//! | `GET /v1/receivers/{name}` | get | `receivers` | |
//! | `POST /v1/receivers/{name}/test`, `POST /v1/receivers/{name}/replay` | update | `receivers` | |
//! | `GET /v1/certificates` | list | `certificates` | |
//! | `GET /v1/facts/{path}` | list | `facts` | |
//! | `GET /v1/rules` | list | `rules` | |
//! | `GET /v1/history` | list | `history` | |
//! | `GET /v1/audit` | list | `audit` | |
//! | `GET /v1/watch` | get | `watch` | |
//! | `GET /metrics`, `GET /openapi.json` | get | non-resource URL of the same path | |
//! | `GET /metrics/certificates`, `GET /metrics/nodes` | get | non-resource URL of the same path | |
//!
//! The resources exist in RBAC only, but for `rebootrequests`, which is a kind of its own. All are cluster-wide. Nothing is
//! cached here; the answer of a SubjectAccessReview is whatever the cluster's authorizers say.

use k8s_openapi::api::authorization::v1::NonResourceAttributes;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::authorization::v1::SubjectAccessReviewSpec;
use kube::Api;
use kube::Client;
use kube::api::PostParams;

use super::client::call;
use super::review::ANSWER_WITHIN;
use super::review::AskError;
use crate::auth::Person;
use crate::http::route::AlertsRoute;
use crate::http::route::RouteName;

/// The group of the virtual resources.
pub const GROUP: &str = "palisade.dev";

/// What has to be allowed for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Verb on a resource of [`GROUP`], for all its objects.
    All(&'static str, &'static str),
    /// Verb on one object of a resource of [`GROUP`]: the one that the path names.
    One(&'static str, &'static str),
    /// Verb on a path.
    Path(&'static str, &'static str),
}

/// The permission that an address takes; `None` if it takes none, or is not for people.
#[must_use]
pub const fn permission(route: RouteName) -> Option<Permission> {
    use Permission as P;
    Some(match route {
        RouteName::Alerts(name) => match name {
            AlertsRoute::Catalogue | AlertsRoute::List | AlertsRoute::Rehearse => {
                P::All("list", "alerts")
            }
            AlertsRoute::EndSilence => P::All("delete", "silences"),
            AlertsRoute::One => P::All("get", "alerts"),
            AlertsRoute::Receiver => P::All("get", "receivers"),
            AlertsRoute::Receivers => P::All("list", "receivers"),
            AlertsRoute::Replay | AlertsRoute::Test => P::All("update", "receivers"),
            AlertsRoute::Silence => P::All("create", "silences"),
            AlertsRoute::Silences => P::All("list", "silences"),
        },
        RouteName::Approve | RouteName::Release | RouteName::ReleasePool => {
            P::All("approve", "rebootrequests")
        }
        RouteName::Audit => P::All("list", "audit"),
        RouteName::CancelReboot => P::All("update", "rebootrequests"),
        RouteName::Certificates => P::All("list", "certificates"),
        RouteName::Explain => P::One("get", "nodes"),
        RouteName::Facts => P::All("list", "facts"),
        RouteName::Findings => P::All("list", "findings"),
        RouteName::History => P::All("list", "history"),
        RouteName::Index | RouteName::Summary => P::All("get", "summary"),
        RouteName::Metrics => P::Path("get", "/metrics"),
        RouteName::MetricsOfCertificates => P::Path("get", "/metrics/certificates"),
        RouteName::MetricsOfNodes => P::Path("get", "/metrics/nodes"),
        RouteName::Node => P::One("get", "nodes"),
        RouteName::Nodes => P::All("list", "nodes"),
        RouteName::OpenApi => P::Path("get", "/openapi.json"),
        RouteName::Plan | RouteName::Reboots | RouteName::WhatIf => {
            P::All("list", "rebootrequests")
        }
        RouteName::RequestReboot => P::All("create", "rebootrequests"),
        RouteName::Retire => P::One("delete", "nodes"),
        RouteName::Rules => P::All("list", "rules"),
        RouteName::Watch => P::All("get", "watch"),
        RouteName::GrantAnswer
        | RouteName::Heartbeat
        | RouteName::Live
        | RouteName::Ready
        | RouteName::Sections => {
            return None;
        }
    })
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish {
    verb: &'static str,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Path(&'static str),
    Resource(&'static str, Option<String>),
}

impl Wish {
    /// The wish behind a call of an address with this name in its path.
    #[must_use]
    pub fn new(permission: Permission, name: Option<&str>) -> Self {
        match permission {
            Permission::All(verb, resource) => Self { verb, what: What::Resource(resource, None) },
            Permission::One(verb, resource) => {
                Self { verb, what: What::Resource(resource, name.map(str::to_owned)) }
            }
            Permission::Path(verb, path) => Self { verb, what: What::Path(path) },
        }
    }
}

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verb, what } = self;
        match what {
            What::Path(path) => write!(f, "{verb} {path}"),
            What::Resource(resource, None) => write!(f, "{verb} {resource}.{GROUP}"),
            What::Resource(resource, Some(name)) => write!(f, "{verb} {resource}.{GROUP}/{name}"),
        }
    }
}

/// What the authorizers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Yes.
    Allowed,
    /// No, or nobody said yes.
    Denied,
}

/// Asks whether a person may do something.
pub(super) async fn ask(client: &Client, person: &Person, wish: &Wish) -> Result<Access, AskError> {
    let review = SubjectAccessReview { spec: spec(person, wish), ..SubjectAccessReview::default() };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = call(ANSWER_WITHIN, reviews.create(&PostParams::default(), &review)).await;
    let status = answer.map_err(AskError::Call)?.status;
    let status = status.ok_or(AskError::Incomplete { part: "status" })?;
    let allowed = status.allowed && status.denied != Some(true);
    Ok(if allowed { Access::Allowed } else { Access::Denied })
}

fn spec(person: &Person, wish: &Wish) -> SubjectAccessReviewSpec {
    let Person { user, uid, groups, extra } = person;
    let Wish { verb, what } = wish;
    let verb = Some((*verb).to_owned());
    let mut spec = SubjectAccessReviewSpec {
        user: Some(user.clone()),
        uid: (!uid.is_empty()).then(|| uid.clone()),
        groups: Some(groups.clone()),
        extra: (!extra.is_empty()).then(|| extra.clone()),
        ..SubjectAccessReviewSpec::default()
    };
    match what {
        What::Path(path) => {
            let path = Some((*path).to_owned());
            spec.non_resource_attributes = Some(NonResourceAttributes { path, verb });
        }
        What::Resource(resource, name) => {
            spec.resource_attributes = Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                resource: Some((*resource).to_owned()),
                name: name.clone(),
                verb,
                ..ResourceAttributes::default()
            });
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::route::Audience;
    use crate::http::route::ROUTES;

    #[test]
    fn every_address_for_people_takes_a_permission_and_no_other_does() {
        for route in ROUTES {
            let for_people = match route.audience {
                Audience::Agents | Audience::Anybody => false,
                Audience::Operators | Audience::Viewers | Audience::ViewersUnlessLoopback => true,
            };
            assert_eq!(permission(route.name).is_some(), for_people, "{}", route.path);
            // What would be under another policy is asked with a body, and changes nothing.
            let questions = [RouteName::WhatIf, RouteName::Alerts(AlertsRoute::Rehearse)];
            let is_question = questions.contains(&route.name);
            let changes = route.method != "GET" && for_people && !is_question;
            let verb = permission(route.name).map(|it| match it {
                Permission::All(verb, _) | Permission::One(verb, _) | Permission::Path(verb, _) => {
                    verb
                }
            });
            let reads = verb.is_none_or(|verb| matches!(verb, "get" | "list"));
            assert_eq!(!reads, changes, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn the_table_in_the_documentation_is_the_table() {
        let documented = include_str!("access.rs");
        for route in ROUTES {
            let Some(permission) = permission(route.name) else { continue };
            let (verb, what) = match permission {
                Permission::All(verb, what) | Permission::One(verb, what) => (verb, what),
                Permission::Path(verb, _) => (verb, "non-resource URL"),
            };
            let address = format!("`{} {}`", route.method, route.path);
            let line = documented
                .lines()
                .find(|line| line.starts_with("//! |") && line.contains(&address));
            let line = line.unwrap_or_else(|| panic!("{address} is not in the table"));
            assert!(line.contains(verb) && line.contains(what), "{line}: {verb} {what}");
        }
    }

    #[test]
    fn the_question_carries_all_that_is_known_of_the_person() {
        let person = Person {
            user: "alice".to_owned(),
            uid: "u-1".to_owned(),
            groups: vec!["sre".to_owned(), "system:authenticated".to_owned()],
            extra: [("scopes".to_owned(), vec!["a".to_owned()])].into(),
        };
        let wish = Wish::new(Permission::One("delete", "nodes"), Some("worker-1"));
        assert_eq!(wish.to_string(), "delete nodes.palisade.dev/worker-1");
        let asked = spec(&person, &wish);
        assert_eq!(asked.user.as_deref(), Some("alice"));
        assert_eq!(asked.uid.as_deref(), Some("u-1"));
        assert_eq!(asked.groups.unwrap().len(), 2);
        assert_eq!(asked.extra.unwrap()["scopes"], ["a"]);
        let resource = asked.resource_attributes.unwrap();
        assert_eq!(resource.name.as_deref(), Some("worker-1"));
        assert_eq!((resource.group.as_deref(), resource.namespace), (Some(GROUP), None));
        let wish = Wish::new(Permission::Path("get", "/metrics"), None);
        let asked = spec(&person, &wish);
        assert!(asked.resource_attributes.is_none());
        assert_eq!(asked.non_resource_attributes.unwrap().path.as_deref(), Some("/metrics"));
    }
}
