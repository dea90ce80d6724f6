use super::*;

fn found(words: &str, listeners: &str) -> Vec<String> {
    verdicts(&judged(&format!("socket: {{{words}}}"), &format!("sockets.listeners: [{listeners}]")))
}

#[test]
fn every_listener_that_may_not_be_there_is_a_finding() {
    let open = "{port: 10255}, {port: 10255, address: '::'}, {port: 22}";
    assert_eq!(
        found("port: 10255, allow: none", open),
        ["fail tcp 0.0.0.0:10255", "fail tcp [::]:10255"]
    );
    assert_eq!(found("port: 10255, allow: none, protocol: udp", open), ["pass"]);
    assert_eq!(found("ports: ['1-1023', 10255], allow: none", open).len(), 3);
    assert_eq!(found("port: 10250, allow: none", open), ["pass"]);
}

#[test]
fn loopback_is_every_form_of_it_and_nothing_that_looks_like_it() {
    for (address, verdict) in [
        ("127.0.0.1", "pass"),
        ("127.5.5.5", "pass"),
        ("::1", "pass"),
        ("::ffff:127.0.0.1", "pass"),
        ("10.127.0.0", "fail tcp 10.127.0.0:9"),
        ("0.0.0.0", "fail tcp 0.0.0.0:9"),
        ("::", "fail tcp [::]:9"),
    ] {
        let listener = format!("{{port: 9, address: '{address}'}}");
        assert_eq!(found("port: 9, allow: loopback", &listener), [verdict], "{address}");
    }
}

#[test]
fn owners_are_compared_as_the_kernel_keeps_their_names() {
    let by = |name: &str| format!("{{port: 9, owner: {{name: {name}}}}}");
    let unseen = "{port: 9, owner: {state: unknown, why: {kind: io, detail: EPERM}, origin: x}}";
    let kernel = "{port: 9, owner: {state: absent, origin: x}}";
    let words = "port: 9, owners: [kube-controller-manager, sshd]";
    assert_eq!(found(words, &by("kube-controller")), ["pass"]);
    assert_eq!(found(words, &by("nc")), ["fail tcp 0.0.0.0:9"]);
    let file = |name: &str, file: &str| {
        format!("{{port: 9, owner: {{name: {name}, executable: '{file}'}}}}")
    };
    assert_eq!(found(words, &file("sshd", "/usr/bin/nc")), ["fail tcp 0.0.0.0:9"]);
    assert_eq!(found(words, &file("worker", "/usr/sbin/sshd (deleted)")), ["pass"]);
    assert_eq!(found(words, &file("kube-controller", "/x/kube-controller-manager")), ["pass"]);
    assert_eq!(found(words, unseen), ["unknown tcp 0.0.0.0:9"]);
    assert_eq!(found(words, kernel), ["fail tcp 0.0.0.0:9"]);
    assert_eq!(found("port: 9, owners: [kernel]", kernel), ["pass"]);
    let except = "allow: loopback, except_owners: [sshd], except_ports: [53]";
    assert_eq!(found(except, &by("sshd")), ["pass"]);
    assert_eq!(found(except, &by("nc")), ["fail tcp 0.0.0.0:9"]);
    assert_eq!(found(except, unseen), ["unknown tcp 0.0.0.0:9"]);
    assert_eq!(found(except, "{port: 53}"), ["pass"]);
}

#[test]
fn more_listeners_than_can_be_told_are_cut_and_that_is_said() {
    let many: Vec<String> = (1..=400).map(|port| format!("{{port: {port}}}")).collect();
    let all = found("allow: none", &many.join(", "));
    assert_eq!(all.len(), crate::expect::MAX_SUBJECTS + 1);
    assert_eq!(all.last().unwrap(), "unknown ~");
}
