//! What rules are interested in, as text from the process that knows the rules to the one that reads.
//!
//! Shape: lines of a kind, a blank and a value; unknown kinds are left out.

use palisade_inspect::Interest;

/// The environment variable in which it is handed over: a command line would be seen by everybody.
pub(crate) const VARIABLE: &str = "PALISADE_READER_INTEREST";

/// Bytes that it may have: the kernel takes 128 KiB in one string (`MAX_ARG_STRLEN`, execve(2)).
pub(crate) const MAX_CHARTER: usize = 120 * 1024;

/// Writes an interest.
pub(crate) fn write(interest: &Interest) -> String {
    let Interest { sysctls, files, modules, mounts, certificates } = interest;
    let mut out = String::new();
    for (kind, values) in [
        ("sysctl", sysctls),
        ("file", files),
        ("module", modules),
        ("mount", mounts),
        ("certificate", certificates),
    ] {
        for value in values.iter().filter(|value| !value.contains('\n')) {
            for part in [kind, " ", value, "\n"] {
                out.push_str(part);
            }
        }
    }
    out
}

/// Reads what [`write()`] wrote.
pub(crate) fn parse(text: &str) -> Interest {
    let mut interest = Interest::default();
    for (kind, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        let values = match kind {
            "sysctl" => &mut interest.sysctls,
            "file" => &mut interest.files,
            "module" => &mut interest.modules,
            "mount" => &mut interest.mounts,
            "certificate" => &mut interest.certificates,
            _ => continue,
        };
        values.insert(value.to_owned());
    }
    interest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interest_survives() {
        let set = |items: &[&str]| items.iter().map(|it| (*it).to_owned()).collect();
        let interest = Interest {
            sysctls: set(&["kernel.kptr_restrict", "net.ipv4.conf.all.rp_filter"]),
            files: set(&["/etc/a b", "${kubelet.flags.config}"]),
            modules: set(&["usb-storage"]),
            mounts: set(&["/tmp"]),
            certificates: set(&["/srv/*.pem"]),
        };
        assert_eq!(parse(&write(&interest)), interest);
        assert_eq!(parse("nothing\nother x\n"), Interest::default());
    }
}
