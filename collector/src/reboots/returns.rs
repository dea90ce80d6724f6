//! Whether a node would come back from a reboot, by what its report says: the kernel that boots next is
//! whole, and the kubelet's client certificate outlives the reboot. Pure.
//!
//! ```text
//! issued ── the kubelet asks for another ── due ── before others ── latest ── reboot, spare ── end
//!              (70 to 90 % of its life)                                │
//!                                                                      └─ gate `certificate` is shut
//! ```
//!
//! Only what a report holds is judged. It says nothing of how full `/boot` is, nor of the devices that
//! `/etc/fstab` names.

use palisade_plan::fleet::Known;
use palisade_plan::policy::Pool;
use palisade_report::Moment;
use palisade_report::Reading;
use palisade_report::section::certificates::CertificateFile;
use palisade_report::section::certificates::Certificates;
use palisade_report::section::certificates::Class;
use palisade_report::section::certificates::Expectation;
use palisade_report::section::kernel::InstalledKernel;
use palisade_report::section::kernel::Kernel;
use palisade_report::section::kernel::KernelPart;

/// Why the agent watches the files in which the kubelet keeps the certificate that it authenticates
/// with: the one that it renews by itself, and its kubeconfig, which may embed one or name its file.
const ROTATED: &str = "kubelet rotateCertificates";
const KUBECONFIG: &str = "kubelet --kubeconfig";

/// Seconds for which the certificate must be good after the latest end of a reboot, and the part of
/// its life that this is at most: a kubelet renews a short-lived one long before.
const SPARE_SECS: i64 = 86_400;
const SPARE_SHARE: i64 = 10;

/// Seconds before the gate shuts from which on the node goes before others, and the part of its life that
/// this is at most. By then the kubelet should have renewed it for long: whatever it waits for, a reboot
/// may be the end of it, and later there is none.
const URGENT_SECS: i64 = 7 * 86_400;
const URGENT_SHARE: i64 = 20;

/// Percent of its life after which a kubelet has renewed its certificate. Source: Kubernetes docs,
/// "Configure Certificate Rotation for the Kubelet".
const RENEWED_PERCENT: i64 = 90;

/// The time in which the kubelet's client certificate is good; `None` where it authenticates otherwise,
/// or there is no kubelet.
pub(super) type Client = Option<(Moment, Moment)>;

/// What the kernel that boots next lacks, in words. An initial RAM disk only if the one that runs has
/// one: there are kernels that need none. Nothing is said of a host without kernels of its own.
pub(super) fn lacks(kernel: &Kernel) -> Vec<String> {
    let untold = |why| vec![format!("whether the kernel that boots next is whole: {why}")];
    let next = match (&kernel.boot_default, &kernel.newest) {
        (Reading::Known { value, .. }, _) | (_, Reading::Known { value, .. }) => value,
        (Reading::Unknown { why, .. }, _) | (_, Reading::Unknown { why, .. }) => {
            return untold(why);
        }
        (Reading::Absent { .. }, Reading::Absent { .. }) => return Vec::new(),
    };
    match &kernel.installed {
        Reading::Known { value: installed, .. } => {
            missing(next, kernel.release.value().map(String::as_str), installed)
        }
        Reading::Unknown { why, .. } => untold(why),
        Reading::Absent { .. } => Vec::new(),
    }
}

fn missing(next: &str, running: Option<&str>, installed: &[InstalledKernel]) -> Vec<String> {
    let parts = |release: &str| installed.iter().find(|it| it.release == release);
    let Some(found) = parts(next) else {
        return vec![format!("the kernel {next}, which boots next, is not installed")];
    };
    let running = running.and_then(parts);
    let needs_initrd = running.is_some_and(|it| it.parts.contains(&KernelPart::Initrd));
    let wanted = [
        (KernelPart::Modules, "modules", true),
        (KernelPart::Initrd, "initial RAM disk", needs_initrd),
    ];
    let missing = wanted.into_iter().filter(|(part, _, is)| *is && !found.parts.contains(part));
    missing
        .map(|(_, what, _)| format!("the kernel {next}, which boots next, has no {what}"))
        .collect()
}

/// The time in which the kubelet's client certificate is good. Of several the one that ends last: the
/// kubelet uses what it renewed, and not what it came with. A file that should be there and is not means
/// that nobody can tell, unless another one has a certificate: the kubelet falls back on that.
///
/// # Errors
/// In words, if it cannot be told.
pub(super) fn client(certificates: &Certificates) -> Result<Client, String> {
    let kubeconfigs: Vec<&str> = certificates
        .files
        .iter()
        .filter(|(_, file)| file.watched.contains(KUBECONFIG))
        .map(|(path, _)| path.as_str())
        .collect();
    let is_client = |file: &CertificateFile| {
        let mut whys = file.watched.iter();
        whys.any(|why| why == ROTATED || why == KUBECONFIG || is_named(why, &kubeconfigs))
    };
    let (mut found, mut gone): (Client, Option<&str>) = (None, None);
    for (path, file) in certificates.files.iter().filter(|(_, file)| is_client(file)) {
        let held = match &file.certificates {
            Reading::Known { value, .. } => value,
            Reading::Absent { .. } => {
                // A kubelet may have no need of one that nothing names and that never was.
                let was_there = matches!(file.resolved, Reading::Known { .. });
                if was_there || file.expected == Expectation::Required {
                    gone = Some(path);
                }
                continue;
            }
            Reading::Unknown { why, .. } => return Err(format!("{path}: {why}")),
        };
        for leaf in held.iter().filter(|it| it.class == Class::Leaf) {
            let (Some(from), Some(until)) = (leaf.not_before.value(), leaf.not_after.value())
            else {
                return Err(format!("{path}: a certificate without a beginning or an end"));
            };
            if found.is_none_or(|(_, last)| last < *until) {
                found = Some((*from, *until));
            }
        }
    }
    match (found, gone, certificates.left_out.first()) {
        // It runs on what it has in memory, and would come back with nothing to say who it is.
        (None, Some(path), _) => Err(format!("{path} is gone, or leads to nothing")),
        (None, None, Some(why)) => Err(format!("not all certificates were read: {why}")),
        (found, _, _) => Ok(found),
    }
}

/// Whether a file is watched because one of these kubeconfigs names it as a user's; a cluster's is an
/// authority.
fn is_named(why: &str, kubeconfigs: &[&str]) -> bool {
    let Some(by) = why.strip_prefix("kubeconfig ") else { return false };
    let of_user = |path: &&str| by.strip_prefix(path).is_some_and(|it| it.starts_with(" (user"));
    kubeconfigs.iter().any(of_user)
}

/// Until when a node may go, so that its kubelet can speak when it comes back: for the longest reboot and
/// the spare time, each of them a tenth of a short life at most.
pub(super) fn latest(client: &Known<Client>, pool: &Pool) -> Option<Moment> {
    let (from, until) = (*client.known()?)?;
    let share = until.since(from).max(0) / SPARE_SHARE;
    let takes = pool.deadlines.reboot_without_history_secs;
    Some(until.plus(-(SPARE_SECS.min(share) + takes.min(share))))
}

/// By when a node whose kubelet does not renew its certificate should have gone. None where that would
/// be before the kubelet has to: nothing is wrong with a short life then.
pub(super) fn due_by(client: &Known<Client>, pool: &Pool) -> Option<Moment> {
    let (from, until) = (*client.known()?)?;
    let life = until.since(from).max(0);
    let due = latest(client, pool)?.plus(-URGENT_SECS.min(life / URGENT_SHARE));
    (due.since(from) > life / 100 * RENEWED_PERCENT).then_some(due)
}

/// Why the kubelet's client certificate is not good for long enough at `now`, and since when. Then it is
/// rotated first; a node whose certificate has ended would come back to a cluster that does not know it.
pub(super) fn runs_out(
    client: &Known<Client>,
    pool: &Pool,
    now: Moment,
) -> Option<(String, Moment)> {
    let until = match client {
        Known::Known(times) => times.map(|(_, until)| until)?,
        Known::Unknown(why) => {
            let value = "until when the kubelet's client certificate is good cannot be told";
            return Some((format!("{value}: {why}"), now));
        }
    };
    let latest = latest(client, pool).filter(|latest| now >= *latest)?;
    let value = if now >= until {
        format!("the kubelet's client certificate ended at {until}: renew it first")
    } else {
        format!(
            "the kubelet's client certificate ends at {until}, too soon after a reboot: renew it first"
        )
    };
    Some((value, latest))
}

#[cfg(test)]
mod tests;
