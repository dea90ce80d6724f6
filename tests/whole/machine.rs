//! A real machine with systemd that joins a real control plane and really reboots.
//!
//! Needs root, QEMU (emulation suffices) and `tests/tools/machine`.

use std::time::Duration;

use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::Options;
use palisade_tests::cluster::machine::HOST;
use palisade_tests::cluster::machine::Machine;
use palisade_tests::cluster::machine::Place;
use palisade_tests::cluster::machine::Prepared;
use palisade_tests::cluster::machine::State;
use palisade_tests::process::Agent;
use serde_json::Value;
use serde_json::json;

/// Where tests put the agent.
const AGENT: &str = "/usr/bin/palisade-agent";

/// How long a pod may take to run on a busy machine.
const RUNS_WITHIN: Duration = Duration::from_secs(10 * 60);

/// A control plane that machines can reach.
fn control_plane() -> ControlPlane {
    ControlPlane::start_with(Options { names: vec![HOST.to_string()], ..Options::default() })
}

/// The section on reboots of the report that the agent makes inside the machine.
fn reboot_section(machine: &Machine) -> Value {
    let report = machine.run(&format!("{AGENT} report"));
    let report: Value = serde_json::from_str(&report).expect("a report is JSON");
    report["sections"]["reboot"].clone()
}

#[test]
fn a_pending_kernel_reboot_is_seen_carried_out_and_gone() {
    let machine = Machine::start("pending-1", Place::First, State::Pending);
    let control_plane = control_plane();
    machine.join(&control_plane);
    machine.put_file(AGENT, &Agent::binary(), "755");
    let (older, newer) = (Prepared::get().older_kernel(), Prepared::get().newer_kernel());

    let node = machine.wait_node_ready(&control_plane);
    let before = machine.boot_id();
    assert_eq!(node["status"]["nodeInfo"]["bootID"], before.as_str());
    assert_eq!(node["status"]["nodeInfo"]["kernelVersion"], older);
    assert_eq!(machine.kernel(), older);
    let section = reboot_section(&machine);
    assert_eq!(section["need"]["answer"], "needed", "{section:#}");
    assert_eq!(section["action"], "reboot", "{section:#}");
    let reasons = section["reasons"].to_string();
    assert!(reasons.contains(newer), "the reasons do not name {newer}: {section:#}");

    machine.reboot_by_signal();

    let node = machine.wait_node_ready(&control_plane);
    let after = machine.boot_id();
    assert_ne!(after, before);
    assert_eq!(node["status"]["nodeInfo"]["bootID"], after.as_str());
    assert_eq!(node["status"]["nodeInfo"]["kernelVersion"], newer);
    assert_eq!(machine.kernel(), newer);
    let section = reboot_section(&machine);
    assert_eq!(section["need"]["answer"], "not-needed", "{section:#}");
}

#[test]
fn two_machines_are_two_nodes_of_one_cluster() {
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| Machine::start("two-1", Place::First, State::Booted));
        let second = scope.spawn(|| Machine::start("two-2", Place::Second, State::Booted));
        (first.join().expect("the first machine"), second.join().expect("the second machine"))
    });
    let control_plane = control_plane();
    first.join(&control_plane);
    second.join(&control_plane);

    let nodes = [&first, &second].map(|machine| machine.wait_node_ready(&control_plane));

    assert_ne!(first.boot_id(), second.boot_id());
    assert_ne!(nodes[0]["status"]["addresses"], nodes[1]["status"]["addresses"]);
    assert_ne!(
        nodes[0]["status"]["nodeInfo"]["machineID"],
        nodes[1]["status"]["nodeInfo"]["machineID"]
    );

    control_plane.controllers();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "there", "namespace": "default" },
        "spec": { "nodeName": second.name(), "containers": [
            { "name": "pause", "image": "palisade-pause:1", "imagePullPolicy": "Never" }
        ] },
    });
    control_plane.apply(&pod.to_string());
    second.wait("the pod runs", RUNS_WITHIN, || {
        let pod = control_plane.get("/api/v1/namespaces/default/pods/there");
        (pod["status"]["phase"] == "Running").then_some(())
    });
}

#[test]
fn commands_files_and_the_network_of_a_machine_do_what_tests_rely_on() {
    let machine = Machine::start("files-1", Place::First, State::Booted);
    let ended = machine.attempt("printf 'a\\0b\\377'; echo oops >&2; exit 7");
    assert_eq!(ended.code, Some(7));
    assert_eq!(ended.stdout, b"a\0b\xff");
    assert_eq!(ended.stderr, "oops\n");

    for length in [0, 1, 4096, (1 << 20) + 1] {
        let bytes: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[at as usize % 3]).collect();
        machine.put("/root/some/file", &bytes, "640");
        let back = machine.attempt("cat /root/some/file; stat -c %a /root/some/file >&2");
        assert!(back.stdout == bytes, "{length} bytes did not survive");
        assert_eq!(back.stderr, "640\n");
    }
    // It reaches this machine's loopback, what a route was made for, and nothing else.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen on loopback");
    let port = listener.local_addr().expect("its address").port();
    let connect = |to: &str| format!("timeout 60 bash -c 'exec 3<>/dev/tcp/{to}/{port}'");
    machine.run(&connect(&HOST.to_string()));
    machine.route("198.51.100.0/24");
    assert!(machine.run("ip route get 198.51.100.7").contains("via 10.0.2.2"));
    assert_ne!(machine.attempt("ip route get 203.0.113.7").code, Some(0), "a way out");

    // Time went on while the machine was frozen.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let there: u64 = machine.run("date +%s").trim_end().parse().expect("seconds");
    assert!(now.as_secs().abs_diff(there) < 60, "its clock says {there}, not {now:?}");
}
