//! Fuzz targets: every parser of foreign bytes, each a function that must not panic, hang or grow
//! without bound whatever the bytes are, and that asserts what holds for every input: bounds, round
//! trips, orders, agreement of two ways to the same answer.
//!
//! `make fuzz` runs them under libFuzzer; `make test` runs them over the committed corpus and over
//! its mutations, so that what was found once stays found.
//!
//! Inputs of several files are one text, so that a person can read and write them: see `split`
//! and `node::host`.

mod certificate;
mod collector;
mod kernel;
mod kubelet;
mod machine;
mod node;
mod package;
mod rule;
mod wire;

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its directory below `tests/corpus`.
    pub name: &'static str,
    /// Feeds it bytes.
    pub run: fn(&[u8]),
}

/// Every target, in order of names.
pub const TARGETS: &[Target] = &[
    Target { name: "api-body", run: collector::body },
    Target { name: "api-request", run: collector::request },
    Target { name: "apk-database", run: package::apk },
    Target { name: "apt-conf", run: package::apt_conf },
    Target { name: "apt-sources", run: package::apt_sources },
    Target { name: "base64", run: certificate::base64 },
    Target { name: "boot-entries", run: kernel::boot_entries },
    Target { name: "boot-time", run: machine::boot_time },
    Target { name: "certificate-der", run: certificate::der },
    Target { name: "certificate-file", run: certificate::file },
    Target { name: "certificate-key", run: certificate::key },
    Target { name: "cpu-list", run: machine::cpus },
    Target { name: "cpu-taint", run: kernel::taint },
    Target { name: "dnf-log", run: package::dnf_log },
    Target { name: "dpkg-status", run: package::dpkg_status },
    Target { name: "elf-header", run: machine::elf },
    Target { name: "grub-config", run: kernel::grub_config },
    Target { name: "grub-environment", run: kernel::grub_environment },
    Target { name: "kernel-command-line", run: kernel::command_line },
    Target { name: "kernel-image-name", run: kernel::image_name },
    Target { name: "kubeconfig", run: certificate::kubeconfig },
    Target { name: "kubelet-arguments", run: kubelet::arguments },
    Target { name: "kubelet-config", run: kubelet::config },
    Target { name: "kubelet-duration", run: kubelet::duration },
    Target { name: "kubelet-host", run: kubelet::host },
    Target { name: "kubelet-merge", run: kubelet::merge },
    Target { name: "lines", run: machine::lines },
    Target { name: "loader-config", run: kernel::loader_config },
    Target { name: "loader-entry", run: kernel::loader_entry },
    Target { name: "loader-variable", run: kernel::loader_variable },
    Target { name: "memory-info", run: machine::memory },
    Target { name: "modprobe", run: kernel::modprobe },
    Target { name: "module-path", run: kernel::module_path },
    Target { name: "mounts", run: machine::mounts },
    Target { name: "namespace-link", run: machine::namespace },
    Target { name: "node", run: node::node },
    Target { name: "os-release", run: machine::os_release },
    Target { name: "pem", run: certificate::pem },
    Target { name: "process", run: machine::process },
    Target { name: "process-maps", run: package::maps },
    Target { name: "reboot-flags", run: package::flags },
    Target { name: "rule-fact-path", run: rule::fact_path },
    Target { name: "rule-file", run: rule::file },
    Target { name: "rule-judge", run: rule::judge },
    Target { name: "rule-pattern", run: rule::pattern },
    Target { name: "rule-profile", run: rule::profile },
    Target { name: "rule-waivers", run: rule::waivers },
    Target { name: "socket-diag", run: machine::socket_diag },
    Target { name: "socket-table", run: machine::socket_table },
    Target { name: "static-pod", run: certificate::static_pod },
    Target { name: "swaps", run: machine::swaps },
    Target { name: "sysctl-command-line", run: machine::sysctl_command_line },
    Target { name: "sysctl-file", run: machine::sysctl_file },
    Target { name: "sysctl-value", run: machine::sysctl_value },
    Target { name: "version-order", run: package::version_order },
    Target { name: "wire-grant", run: wire::grant },
    Target { name: "wire-heartbeat", run: wire::heartbeat },
    Target { name: "wire-reply", run: wire::reply },
    Target { name: "wire-section", run: wire::section },
    Target { name: "wire-upload", run: wire::upload },
    Target { name: "yum-config", run: package::yum },
];

/// Between the parts of an input of several texts.
const BETWEEN: &[u8] = b"\n=====\n";

/// The parts of an input of several texts, at least one.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

/// Asserts that `text` may be shown to a person: bounded, and without what moves a cursor or turns
/// the reading direction.
fn shown(text: &str, max: usize) {
    assert!(text.len() <= max, "{} bytes of at most {max}: {text:?}", text.len());
    let turns = |character| matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    assert!(!text.chars().any(|it| it.is_control() || turns(it)), "{text:?}");
}

/// Asserts that line numbers ascend and are numbers of lines of `text`.
fn lines_of(text: &[u8], numbers: impl IntoIterator<Item = usize>) {
    let count = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    let mut last = 0;
    for number in numbers {
        assert!((1..=count).contains(&number), "line {number} of {count}");
        assert!(number >= last, "line {number} after {last}");
        last = number;
    }
}
