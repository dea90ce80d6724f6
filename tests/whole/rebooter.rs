//! The rebooter in a real machine with systemd: signed grants reboot it, once, by both means, with the
//! rights of the shipped container; all others do not.
//!
//! Needs root, QEMU (emulation suffices) and `tests/tools/machine`.

use std::path::Path;
use std::time::Duration;

use palisade_tests::cluster::machine::Machine;
use palisade_tests::cluster::machine::Place;
use palisade_tests::cluster::machine::State;
use palisade_tests::process::Agent;
use serde_json::Value;

const AGENT: &str = "/usr/bin/palisade-agent";
const GRANTER: &str = "/usr/bin/granter";
const SOCKET: &str = "/run/palisade-grants/socket";
const KEYS: &str = "/etc/palisade/trust/grant-keys";

/// How long a service may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(300);

/// Starts the rebooter with what the container gives it: uid 0, no capability, a root that is
/// read-only but for the record and the socket.
fn start(machine: &Machine, more: &str) {
    machine.run(&format!(
        "set -e; mkdir -p /run/palisade /run/palisade-grants /var/lib/palisade
         systemctl stop palisade-reboot 2> /dev/null || true
         rm -f {SOCKET}
         systemd-run --quiet --collect --unit=palisade-reboot -p CapabilityBoundingSet= \
             -p NoNewPrivileges=yes -p ProtectSystem=strict -p MemoryMax=16M -p MemorySwapMax=0 \
             -p 'ReadWritePaths=/var/lib/palisade /run/palisade-grants' \
             {AGENT} reboot --min-uptime 0 {more}"
    ));
    // proc_pid_net(5): the flag of listening, packets.
    let listens = format!("grep -q ' 00010000 0005 01 .* {SOCKET}$' /proc/net/unix");
    machine.wait("the rebooter takes grants", WITHIN, || {
        (machine.attempt(&listens).code == Some(0)).then_some(())
    });
}

/// Hands over a grant for this boot and `node`: the answers.
fn grant(machine: &Machine, seed: u8, node: &str, epoch: u64, number: u8) -> String {
    machine.run(&format!("{GRANTER} sign {SOCKET} {seed} {node} {epoch} {number} /root/kept"))
}

/// Hands over a good grant, waits until the machine has booted anew, and returns the answers.
fn grant_and_boot(machine: &Machine, epoch: u64, number: u8) -> String {
    let before = machine.boot_id();
    let sign = format!("{GRANTER} sign {SOCKET} 1 uid-1 {epoch} {number} /root/kept");
    machine.run(&format!(
        "systemd-run --quiet --no-block --collect sh -c '{sign} > /root/answers 2>&1'"
    ));
    machine.wait_boot_after(&before);
    machine.run("cat /root/answers")
}

/// What the rebooter remembers.
fn record(machine: &Machine) -> Value {
    let text = machine.run("cat /var/lib/palisade/reboots.json");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_signed_grant_reboots_a_machine_once_and_nothing_else_does() {
    let machine = Machine::start("granted-1", Place::First, State::Booted);
    machine.put_file(AGENT, &Agent::binary(), "755");
    machine.put_file(GRANTER, Path::new(env!("CARGO_BIN_EXE_granter")), "755");
    let first = machine.boot_id();

    // Without a key it waits, alive, and refuses.
    start(&machine, "--mode logind");
    let answers = grant(&machine, 1, "uid-1", 5, 1);
    assert!(answers.starts_with("refused key "), "{answers}");
    machine.run("systemctl is-active palisade-reboot");
    // Delivered without a restart.
    machine.run(&format!("set -e; mkdir -p $(dirname {KEYS}); {GRANTER} public 1 > {KEYS}"));
    let answers = grant(&machine, 2, "uid-1", 5, 2);
    assert!(answers.starts_with("refused key "), "{answers}");
    machine.run("touch /run/palisade/hold");
    let answers = grant(&machine, 1, "uid-1", 5, 3);
    assert!(answers.starts_with("refused hold "), "{answers}");
    machine.run("rm /run/palisade/hold");
    let status = machine.run(
        "grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp|VmHWM|Threads):' \
         /proc/$(systemctl show -P MainPID palisade-reboot)/status",
    );
    eprintln!("the rebooter holds:\n{status}");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    assert_eq!(u64::from_str_radix(&field("CapEff"), 16), Ok(0));
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(machine.boot_id(), first);

    // Who delays a shutdown is told beforehand, as logind has it.
    machine.run(
        "systemd-run --quiet --collect --unit=inhibitor systemd-inhibit --what=shutdown:sleep \
         --mode=delay --who=tester '--why=a test runs' sleep 3600",
    );
    machine.wait("the inhibitor is there", WITHIN, || {
        let listed = machine.attempt("systemd-inhibit --list | grep -q tester");
        (listed.code == Some(0)).then_some(())
    });
    start(&machine, "--mode logind");
    let status = machine.run(&format!("{GRANTER} status {SOCKET}"));
    eprintln!("the rebooter says: {status}");
    assert!(status.starts_with("logind "), "{status}");
    assert!(status.contains("tester delays shutdown: a test runs"), "{status}");
    machine.run("systemctl stop inhibitor");

    // logind, which pins the node's UID.
    let answers = grant_and_boot(&machine, 5, 4);
    assert_eq!(answers, "accepted\nexecuting\n");
    let second = machine.boot_id();
    let remembered = record(&machine);
    assert_eq!(remembered["last"]["boot"], first.as_str(), "{remembered}");
    assert_eq!(remembered["node"], "uid-1", "{remembered}");

    // The boot made it void; what is remembered outlives the boot.
    start(&machine, "--mode signal");
    let answers = machine.run(&format!("{GRANTER} again {SOCKET} /root/kept"));
    assert!(answers.starts_with("refused boot "), "{answers}");
    for (node, epoch, code) in
        [("uid-2", 5, "node"), ("uid-1", 4, "epoch"), ("uid-1", 5, "interval")]
    {
        let answers = grant(&machine, 1, node, epoch, 5);
        assert!(answers.starts_with(&format!("refused {code} ")), "{answers}");
    }
    assert_eq!(machine.boot_id(), second);

    // The signal.
    start(&machine, "--mode signal --min-interval 0");
    let answers = grant_and_boot(&machine, 6, 6);
    assert_eq!(answers, "accepted\nexecuting\n");
    let remembered = record(&machine);
    assert_eq!(remembered["last"]["boot"], second.as_str(), "{remembered}");
    assert_eq!(remembered["epoch"], 6, "{remembered}");
}
