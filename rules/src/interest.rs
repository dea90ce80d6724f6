//! What the rules in force want to know: the lists that decide how far readers look.

use std::collections::BTreeSet;

/// What inspections must look at beyond what every one covers. The agent copies it into its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Kernel parameters by key with dots.
    pub sysctls: BTreeSet<String>,
    /// Paths and patterns whose mode and owner matter; `${kubelet.flags.NAME}` and
    /// `${kubelet.effective.FIELD}` may lead them.
    pub files: BTreeSet<String>,
    /// Kernel modules whose state matters.
    pub modules: BTreeSet<String>,
    /// Mount points whose options matter.
    pub mounts: BTreeSet<String>,
}

/// Notes what the fact at `path` needs to be there at all.
pub(crate) fn note(interest: &mut Interest, path: &str) {
    if let Some(rest) = path.strip_prefix("sysctls.keys.") {
        let key = rest.strip_suffix(".running").or_else(|| rest.strip_suffix(".next_boot"));
        interest.sysctls.insert(key.unwrap_or(rest).to_owned());
    } else if let Some(name) = path.strip_prefix("kernel.modules.") {
        interest.modules.insert(name.to_owned());
    } else if let Some(rest) = path.strip_prefix("host.mounts.") {
        let point = rest.strip_suffix(".options").or_else(|| rest.strip_suffix(".kind"));
        interest.mounts.insert(point.unwrap_or(rest).to_owned());
    } else if let Some(rest) = path.strip_prefix("files.paths.") {
        let fields = [".mode", ".uid", ".gid", ".kind", ".unsafe_ancestors", ".resolved"];
        let file = fields.iter().find_map(|field| rest.strip_suffix(field));
        interest.files.insert(file.unwrap_or(rest).to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_into_a_list_of_interest_is_noted() {
        let mut interest = Interest::default();
        for path in [
            "sysctls.keys.kernel.x.running",
            "kernel.modules.usb-storage",
            "host.mounts./tmp.options",
            "host.mounts./dev/shm",
            "files.paths./etc/passwd.mode",
            "kernel.release",
        ] {
            note(&mut interest, path);
        }
        let set = |items: &[&str]| items.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(
            interest,
            Interest {
                sysctls: set(&["kernel.x"]),
                files: set(&["/etc/passwd"]),
                modules: set(&["usb-storage"]),
                mounts: set(&["/dev/shm", "/tmp"]),
            }
        );
    }
}
