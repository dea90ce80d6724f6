//! Sysctls: values now, and the values that the next boot will set.
//!
//! The running value is what `/proc/sys` says, where it says it of the host: some keys answer for
//! the reader's own namespaces, and are unknown until those are proven to be the host's. The next
//! value is a prediction by the rules of systemd-sysctl(8), see [`files`]:
//!
//! ```text
//! kernel command line (panic=, oops=, sysctl.k=v) ─> sysctl.d(5), last file wins ─> next boot
//! ```
//!
//! What this does not do: follow services that write keys later (a CNI, kube-proxy, tuned, ufw), or
//! `/etc/sysctl.conf`, which systemd reads only through a link in `sysctl.d`.

use std::collections::BTreeMap;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_LIST;
use palisade_report::bound::MAX_LONG_TEXT;
use palisade_report::bound::clean;
use palisade_report::section::boot::Boot;
use palisade_report::section::boot::NamespaceKind;
use palisade_report::section::sysctls::Sysctl;
use palisade_report::section::sysctls::Sysctls;

use crate::Host;
use crate::Interest;
use crate::ReadError;
use crate::boot;
use crate::host::MAX_PROC;
use crate::namespace;

pub mod files;

/// Bytes of the kernel command line that are read: the kernel's bound is 4,096.
const MAX_COMMAND_LINE: usize = 64 * 1024;

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host, interest: &Interest, boot: &Section<Boot>) -> Section<Sysctls> {
    if interest.sysctls.len() > MAX_LIST {
        let detail = format!("more than {MAX_LIST} keys are asked for");
        return Section::Unknown { why: Why::new(WhyKind::TooLarge, detail) };
    }
    let prediction = Prediction::read(host);
    let ipc = namespace::prove_ipc(host);
    let mut keys = BTreeMap::new();
    for key in &interest.sysctls {
        let path = files::normalize(key);
        let distrust = match depends_on(&path) {
            Dependence::Kind(kind) => boot::distrust(boot, kind),
            Dependence::Ipc => {
                ipc.distrust().map(|evidence| Why::new(WhyKind::WrongNamespace, evidence))
            }
            Dependence::Nothing => None,
        };
        let running = read_running(host, &path, distrust);
        let next_boot = prediction.of(&path, &running);
        keys.insert(key.clone(), Sysctl { running, next_boot });
    }
    Section::Known(Sysctls { keys })
}

/// On which namespace of the reading task a key depends.
enum Dependence {
    Ipc,
    Kind(NamespaceKind),
    Nothing,
}

fn depends_on(path: &str) -> Dependence {
    const IPC: [&str; 11] = [
        "kernel/auto_msgmni",
        "kernel/msg_next_id",
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/sem_next_id",
        "kernel/shm_next_id",
        "kernel/shm_rmid_forced",
        "kernel/shmall",
        "kernel/shmmax",
    ];
    if path.starts_with("net/") {
        return Dependence::Kind(NamespaceKind::Network);
    }
    if path.starts_with("user/") {
        return Dependence::Kind(NamespaceKind::User);
    }
    if matches!(path, "kernel/pid_max" | "kernel/ns_last_pid") {
        return Dependence::Kind(NamespaceKind::Pid);
    }
    if path.starts_with("fs/mqueue/") || path == "kernel/shmmni" || IPC.contains(&path) {
        return Dependence::Ipc;
    }
    Dependence::Nothing
}

fn read_running(host: &dyn Host, path: &str, distrust: Option<Why>) -> Reading<String> {
    let file = format!("/proc/sys/{path}");
    if let Some(why) = distrust {
        return Reading::unknown(why, Origin::path(&file));
    }
    match host.read(&file, MAX_PROC) {
        Ok(contents) => Reading::known(parse_value(&contents.bytes), Origin::path(&file)),
        // Without the directory nothing is said about the key: proc is not mounted, or not captured.
        Err(ReadError::NotFound { .. }) => match host.metadata("/proc/sys") {
            Ok(_) => Reading::absent(Origin::path(&file)),
            Err(error) => Reading::unknown(error.why(), Origin::path(&file)),
        },
        Err(error @ ReadError::Failed { .. }) => error.reading(),
    }
}

/// A value with white space folded to one space, so that the kernel's tabs and a file's blanks
/// compare equal; at most [`MAX_LONG_TEXT`] bytes.
#[must_use]
pub fn parse_value(bytes: &[u8]) -> String {
    let words: Vec<&[u8]> =
        bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    clean(&words.join(&b' '), MAX_LONG_TEXT)
}

/// What the next boot will set.
struct Prediction {
    files: files::Settings,
    command_line: Result<BTreeMap<String, String>, Why>,
}

impl Prediction {
    fn read(host: &dyn Host) -> Self {
        let command_line = host
            .read("/proc/cmdline", MAX_COMMAND_LINE)
            .map(|contents| parse_command_line(&contents.bytes))
            .map_err(ReadError::why);
        Self { files: files::read(host), command_line }
    }

    /// The value of the key with this path below `/proc/sys`.
    fn of(&self, path: &str, running: &Reading<String>) -> Reading<String> {
        let existence = match running {
            Reading::Absent { .. } => files::Existence::Missing,
            Reading::Known { .. } | Reading::Unknown { .. } => files::Existence::Possible,
        };
        match self.files.assigned(path, existence) {
            files::Assigned::Value { value, origin } => {
                return Reading::known(parse_value(value.as_bytes()), origin);
            }
            files::Assigned::Unknown { why, origin } => return Reading::unknown(why, origin),
            files::Assigned::Nothing => {}
        }
        match &self.command_line {
            Ok(words) => match words.get(path) {
                Some(value) => Reading::known(
                    parse_value(value.as_bytes()),
                    Origin::words("the kernel command line"),
                ),
                None => Reading::absent(Origin::words("no file of sysctl.d(5) sets it")),
            },
            Err(why) => Reading::unknown(why.clone(), Origin::path("/proc/cmdline")),
        }
    }
}

/// What the kernel command line sets, by path below `/proc/sys`.
///
/// Shape: `sysctl.kernel.panic=10` and `sysctl/kernel/panic=10` (the kernel turns every dot into a
/// slash), `panic=10`, `oops=panic`. The last word wins; `sysctl` words come after the two others
/// whatever their order. Words after `--` belong to init. Source: kernel-parameters(7),
/// `fs/proc/proc_sysctl.c`.
#[must_use]
pub fn parse_command_line(command_line: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(command_line);
    let (mut early, mut late) = (BTreeMap::new(), BTreeMap::new());
    for word in words(&text) {
        if word == "--" {
            break;
        }
        let Some((name, value)) = word.split_once('=') else { continue };
        match name {
            "panic" => early.insert("kernel/panic".to_owned(), value.to_owned()),
            "oops" if value == "panic" => {
                early.insert("kernel/panic_on_oops".to_owned(), "1".to_owned())
            }
            _ => match name.strip_prefix("sysctl").and_then(|rest| rest.strip_prefix(['.', '/'])) {
                Some(key) if !key.is_empty() && !value.is_empty() => {
                    late.insert(key.replace('.', "/"), value.to_owned())
                }
                Some(_) | None => None,
            },
        };
    }
    early.extend(late);
    early
}

/// Words of a command line, separated by white space outside double quotes, quotes removed.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            _ if character.is_ascii_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests;
