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
fn a_policy_knows_by_which_labels_it_selects_nodes() {
    let waves = Waves { canary: Canary::Selector(Selector::label("canary", "yes")), ..waves() };
    let first = Pool { waves: Some(waves), ..pool("a", Selector::label("tier", "db")) };
    let mut cluster = ClusterPolicy::default();
    cluster.control_plane.selector = Some(Selector::label("role", "master"));
    let policy = Policy::of(cluster, vec![first, pool("b", Selector::default())]);
    for (label, expected) in
        [("canary", true), ("tier", true), ("role", true), ("kubernetes.io/hostname", false)]
    {
        assert_eq!(policy.selects_by(label), expected, "{label}");
    }
}

fn waves() -> Waves {
    Waves { canary: Canary::Count(1), percents: Vec::new(), bake_node_secs: 0, bake_wave_secs: 0 }
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
