//! The requests that are known, each in its newest version, whoever brought it: the watch, a list,
//! the answer to a write of ours.
//!
//! Versions are compared as numbers, which the API server's are (KEP-5504). What a watch lists anew
//! does not contain what we wrote meanwhile, so that is kept until the watch has shown it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use kube::runtime::watcher::Event;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use tokio::sync::watch;

use super::convert;
use crate::kube::nodes::View;
use crate::kube::reboot_request::RebootRequest;

/// A request as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// Name of the object: the UID of its node.
    pub name: String,
    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub version: u64,
    /// What it says, or why that cannot be told, and whether it may hold a place.
    pub request: Result<Request, Unreadable>,
}

/// An object that cannot be read as a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Why, for a person.
    pub why: String,
    /// The word of its state, which says whether it holds a place.
    pub holds_slot: bool,
}

impl Requested {
    /// What is in an object.
    pub(super) fn of(object: &RebootRequest) -> Self {
        let metadata = &object.metadata;
        let version = metadata.resource_version.as_deref().and_then(|it| it.parse().ok());
        let request = convert::request(object).map_err(|error| Unreadable {
            why: error.to_string(),
            holds_slot: convert::state(object).is_some_and(State::holds_slot),
        });
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            version: version.unwrap_or(0),
            request,
        }
    }

    fn written(request: Request) -> Self {
        let version = request.version.parse().unwrap_or(0);
        Self { name: request.uid.to_string(), version, request: Ok(request) }
    }
}

/// The newest versions of all requests.
pub struct RequestBook {
    pages: Mutex<Pages>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Pages {
    known: BTreeMap<String, Requested>,
    /// The new list, as far as it has come.
    coming: Option<BTreeSet<String>>,
    /// Written by us since the list began.
    written: BTreeSet<String>,
    /// Brought by the watch or written by us since a list was asked for.
    meanwhile: Option<BTreeSet<String>>,
    is_listed: bool,
    is_broken: bool,
}

impl fmt::Debug for RequestBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestBook({} known)", self.pages().known.len())
    }
}

impl Default for RequestBook {
    fn default() -> Self {
        Self { pages: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Pages {
    fn put(&mut self, it: Requested) -> bool {
        if self.known.get(&it.name).is_some_and(|known| known.version >= it.version) {
            return false;
        }
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.insert(it.name.clone());
        }
        self.known.insert(it.name.clone(), it);
        true
    }
}

impl RequestBook {
    /// Takes in what the watch says.
    pub(super) fn take(&self, event: Event<RebootRequest>) {
        let mut pages = self.pages();
        let is_news = match event {
            Event::Init => {
                pages.coming = Some(BTreeSet::new());
                pages.written.clear();
                false
            }
            Event::InitApply(object) => {
                let it = Requested::of(&object);
                if let Some(coming) = &mut pages.coming {
                    coming.insert(it.name.clone());
                }
                pages.put(it)
            }
            Event::InitDone => {
                let coming = pages.coming.take().unwrap_or_default();
                let written = std::mem::take(&mut pages.written);
                pages.known.retain(|name, _| coming.contains(name) || written.contains(name));
                pages.is_listed = true;
                pages.is_broken = false;
                true
            }
            Event::Apply(object) => {
                pages.is_broken = false;
                pages.put(Requested::of(&object))
            }
            Event::Delete(object) => {
                pages.is_broken = false;
                let gone = Requested::of(&object);
                let is_newer =
                    pages.known.get(&gone.name).is_some_and(|it| it.version <= gone.version);
                if is_newer {
                    pages.known.remove(&gone.name);
                }
                is_newer
            }
        };
        drop(pages);
        if is_news {
            self.tell();
        }
    }

    pub(super) fn see(&self, view: View) {
        let mut pages = self.pages();
        pages.is_broken = view == View::Partial;
    }

    /// Takes in the answer to a write of ours.
    pub fn wrote(&self, request: Request) {
        let mut pages = self.pages();
        pages.written.insert(request.uid.to_string());
        pages.put(Requested::written(request));
    }

    /// Takes in that a request was deleted by us.
    pub fn deleted(&self, request: &Request) {
        let mut pages = self.pages();
        let is_it = pages
            .known
            .get(request.uid.as_str())
            .is_some_and(|it| it.request.as_ref().is_ok_and(|it| it.id == request.id));
        if is_it {
            pages.known.remove(request.uid.as_str());
        }
    }

    /// A list is about to be asked for.
    pub fn expect(&self) {
        self.pages().meanwhile = Some(BTreeSet::new());
    }

    /// Takes in a whole list from the quorum: what is not in it does not exist, unless it came since
    /// [`Self::expect`].
    pub fn learn(&self, list: Vec<Requested>) {
        let mut pages = self.pages();
        let mut names = pages.meanwhile.take().unwrap_or_default();
        names.extend(list.iter().map(|it| it.name.clone()));
        pages.known.retain(|name, _| names.contains(name));
        for it in list {
            pages.put(it);
        }
        pages.is_listed = true;
    }

    /// All that are known; `None` as long as that was never the whole list.
    #[must_use]
    pub fn all(&self) -> Option<Vec<Requested>> {
        let pages = self.pages();
        pages.is_listed.then(|| pages.known.values().cloned().collect())
    }

    /// Whether the watch goes on, as far as is known.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        let pages = self.pages();
        pages.is_listed && !pages.is_broken
    }

    /// Grows with everything that the watch brings.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, version: &str) -> RebootRequest {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "palisade.dev/v1alpha1",
            "kind": "RebootRequest",
            "metadata": { "name": name, "uid": name, "resourceVersion": version },
            "spec": {
                "node": { "name": "worker-1", "uid": name },
                "reasons": [{ "source": "request", "kind": "manual", "subject": "firmware" }],
                "digest": format!("sha256:{}", palisade_report::Digest::of(b"x")),
                "requestedBy": "anna",
            },
        }))
        .unwrap()
    }

    fn versions(book: &RequestBook) -> Vec<(String, u64)> {
        book.all().unwrap().into_iter().map(|it| (it.name, it.version)).collect()
    }

    fn own(name: &str, version: &str) -> Request {
        Requested::of(&object(name, version)).request.unwrap()
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let book = RequestBook::default();
        assert_eq!(book.all(), None, "not listed is not empty");
        book.take(Event::Init);
        book.take(Event::InitApply(object("a", "5")));
        book.take(Event::InitDone);
        book.wrote(own("a", "9"));
        book.take(Event::Apply(object("a", "7")));
        assert_eq!(versions(&book), [("a".to_owned(), 9)]);
        // The watch comes to what was deleted before our write: that was another object.
        book.take(Event::Delete(object("a", "8")));
        assert_eq!(versions(&book), [("a".to_owned(), 9)]);
        book.take(Event::Delete(object("a", "12")));
        assert_eq!(versions(&book), []);
    }

    #[test]
    fn what_the_watch_brings_during_a_list_is_not_lost() {
        let book = RequestBook::default();
        book.learn(vec![Requested::of(&object("a", "1"))]);
        book.expect();
        book.take(Event::Apply(object("b", "5")));
        book.learn(vec![]);
        assert_eq!(versions(&book), [("b".to_owned(), 5)]);
        book.expect();
        book.learn(vec![]);
        assert_eq!(versions(&book), []);
    }

    #[test]
    fn what_we_wrote_while_the_watch_lists_anew_is_not_lost() {
        let book = RequestBook::default();
        book.learn(vec![Requested::of(&object("old", "1"))]);
        book.take(Event::Init);
        book.wrote(own("new", "6"));
        book.take(Event::InitApply(object("other", "4")));
        book.take(Event::InitDone);
        let names: Vec<_> = versions(&book).into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["new", "other"]);
    }

    #[test]
    fn a_broken_watch_is_known_for_one() {
        let book = RequestBook::default();
        assert!(!book.is_followed());
        book.take(Event::Init);
        book.take(Event::InitDone);
        assert!(book.is_followed());
        book.see(View::Partial);
        assert!(!book.is_followed());
        book.take(Event::Apply(object("a", "5")));
        assert!(book.is_followed());
    }
}
