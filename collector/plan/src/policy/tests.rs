//! Tests of what a policy is; its language is tested beside its parser.

use super::*;

fn pool(name: &str, selector: Selector) -> Pool {
    Pool { name: name.to_owned(), selector, mode: Mode::Auto, ..Pool::default() }
}

#[test]
fn the_first_pool_that_selects_a_node_has_it_and_the_rest_is_only_reported() {
    let policy = Policy::of(
        ClusterPolicy::default(),
        vec![
            pool("db", Selector::label("tier", "db")),
            pool("ssd", Selector::label("disk", "ssd")),
        ],
    );
    let labels = |labels: &[(&str, &str)]| -> BTreeMap<String, String> {
        labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    assert_eq!(policy.pool_of(&labels(&[("tier", "db"), ("disk", "ssd")])).name, "db");
    assert_eq!(policy.pool_of(&labels(&[("tier", "web"), ("disk", "ssd")])).name, "ssd");
    let unmatched = policy.pool_of(&labels(&[("tier", "web")]));
    assert_eq!((unmatched.name.as_str(), unmatched.mode), (UNMATCHED, Mode::Report));
}

#[test]
fn the_digest_changes_with_every_part_and_with_nothing_else() {
    let base = Policy::of(ClusterPolicy::default(), vec![pool("a", Selector::default())]);
    let same = Policy::of(ClusterPolicy::default(), vec![pool("a", Selector::default())]);
    assert_eq!(base.digest, same.digest);
    let paused = ClusterPolicy { paused: Some("why".to_owned()), ..ClusterPolicy::default() };
    let mut soak = pool("a", Selector::default());
    soak.soak_secs = 121;
    for other in [
        Policy::default(),
        Policy::of(paused, vec![pool("a", Selector::default())]),
        Policy::of(ClusterPolicy::default(), vec![pool("b", Selector::default())]),
        Policy::of(ClusterPolicy::default(), vec![soak]),
    ] {
        assert_ne!(base.digest, other.digest);
    }
}
