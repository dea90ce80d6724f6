//! The agent on a real machine with systemd, the collector on the kubelet of this one.
//!
//! ```text
//! QEMU: kubelet ─> agent ──> address of the Service ──QEMU, kube-proxy──> pod of the collector
//! ```

use std::thread;
use std::time::Duration;

use palisade_tests::cluster::Options;
use palisade_tests::cluster::machine::HOST;
use palisade_tests::cluster::machine::Machine;
use palisade_tests::cluster::machine::Place;
use palisade_tests::cluster::machine::Prepared;
use palisade_tests::cluster::machine::State;
use palisade_tests::image;
use serde_json::Value;
use serde_json::json;

use super::Deployed;
use super::by_hand;
use crate::sandbox::Tally;

/// The node.
const NAME: &str = "machine-1";
/// Where Services have their addresses.
const SERVICES: &str = "10.96.0.0/12";
/// How long anything may take on a busy machine, whose emulation is slow already.
const WITHIN: Duration = Duration::from_secs(10 * 60);

/// Memory of the agent's processes, for people: name, resident, own.
const MEMORY: &str = r#"
    for process in /proc/[0-9]*; do
      case $(readlink $process/exe) in */palisade-agent)
        echo $(tr '\0' ' ' < $process/cmdline | cut -d ' ' -f 2): \
          $(grep VmRSS $process/status) $(grep Pss_Anon $process/smaps_rollup);;
      esac
    done
    pid=$(for process in /proc/[0-9]*; do
      case $(readlink $process/exe) in */palisade-agent) basename $process; break;; esac
    done)
    group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$pid/cgroup)
    echo "container: $(($(cat $group/memory.current) / 1024)) KiB, of which anonymous" \
      "$(($(sed -n 's/^anon //p' $group/memory.stat) / 1024)), peak $(($(cat $group/memory.peak) / 1024))""#;

/// The agent's pod on the machine.
fn pod(deployed: &Deployed) -> Option<Value> {
    deployed.pods().into_iter().find(|pod| {
        let labels = &pod["metadata"]["labels"];
        labels["app.kubernetes.io/name"] == "palisade-agent" && pod["spec"]["nodeName"] == NAME
    })
}

/// Facts by section, as a report has them.
fn sections(answer: &Value) -> Value {
    let sections = answer["sections"].as_object().expect("sections");
    sections.iter().map(|(name, it)| (name.clone(), it["facts"].clone())).collect()
}

/// Waits until the condition has this status, and returns it.
fn condition(machine: &Machine, deployed: &Deployed, kind: &str, status: &str) -> Value {
    machine.wait(&format!("{kind} is {status}"), WITHIN, || {
        deployed.conditions(NAME).remove(kind).filter(|it| it["status"] == status)
    })
}

fn report_of_boot(machine: &Machine, deployed: &Deployed, boot: &str) -> Value {
    machine.wait("the report of this boot arrives", WITHIN, || {
        deployed.reported(NAME).filter(|answer| answer["node"]["boot_id"] == boot)
    })
}

/// What processes of the agent may do on this node, as they say themselves.
fn assert_confined(sections: &Value) {
    let confinement = &sections["boot"]["confinement"];
    eprintln!("confinement: {confinement}");
    assert_eq!(confinement["mode"], "split", "{confinement:#}");
    // Linux 6.1 has Landlock 2, which knows files and no ports: said, and nothing beside it.
    let shortfalls = confinement["shortfalls"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(shortfalls.len(), 1, "{confinement:#}");
    assert!(shortfalls[0].as_str().is_some_and(|it| it.contains("no rules for ports")));
    assert!(confinement["refused"].is_null(), "{confinement:#}");
    assert_eq!(confinement["processes"]["parser"]["capabilities"], json!([]), "{confinement:#}");
    for process in ["parser", "reader"] {
        let process = &confinement["processes"][process];
        assert_ne!(process["uid"], 0, "{confinement:#}");
        assert_eq!(process["seccomp"], "filter", "{confinement:#}");
        assert_eq!(process["no_new_privileges"], true, "{confinement:#}");
    }
    for (name, proof) in sections["boot"]["namespaces"].as_object().expect("namespaces") {
        eprintln!("namespace {name}: {proof}");
    }
}

#[test]
fn a_real_machine_is_reported_rightly_before_and_after_its_reboot() {
    // Before anything runs: building it may take minutes.
    let agent = image::archive("palisade-agent");
    let (deployed, machine) = thread::scope(|scope| {
        let machine = scope.spawn(|| Machine::start(NAME, Place::First, State::Pending));
        let options = Options { names: vec![HOST.to_string()], ..Options::default() };
        (Deployed::begin(options), machine.join().expect("a machine"))
    });
    machine.route(SERVICES);
    machine.join(&deployed.control_plane);
    machine.import_image(&agent);
    deployed.apply();
    machine.wait_node_ready(&deployed.control_plane);
    let boot = machine.boot_id();
    let answer = report_of_boot(&machine, &deployed, &boot);

    // What updates left behind.
    let newer = Prepared::get().newer_kernel();
    let pending = condition(&machine, &deployed, "RebootRequired", "True");
    eprintln!("{pending}");
    assert_eq!(pending["reason"], "RebootPending", "{pending:#}");
    let sections = sections(&answer);
    let reasons = sections["reboot"]["reasons"].to_string();
    assert!(reasons.contains(newer), "the reasons do not name {newer}: {reasons}");
    let all = deployed.conditions(NAME);
    assert_eq!(all.len(), 3, "{all:#?}");

    let same = by_hand::compare(&machine, &sections);
    eprintln!("{same} facts are the same by hand");
    assert!(same >= 15, "only {same} facts were compared");

    let tally = Tally::of(&json!({ "sections": sections }));
    eprintln!("known on a real node: {:.1} % of {}", tally.share(), tally.told);
    eprintln!("not known: {:#?}", tally.unknown);
    assert!(tally.share() >= 95.0, "{:.1} %: {:#?}", tally.share(), tally.unknown);
    assert_confined(&sections);

    eprintln!("{}", machine.run(MEMORY));
    let container = &pod(&deployed).expect("the agent's pod")["status"]["containerStatuses"][0];
    assert_eq!(container["restartCount"], 0, "{container:#}");

    machine.reboot_by_signal();

    let node = machine.wait_node_ready(&deployed.control_plane);
    let boot = machine.boot_id();
    assert_eq!(node["status"]["nodeInfo"]["kernelVersion"], newer);
    report_of_boot(&machine, &deployed, &boot);
    let settled = condition(&machine, &deployed, "RebootRequired", "False");
    eprintln!("{settled}");
    assert_eq!(settled["reason"], "NoRebootPending", "{settled:#}");
}
