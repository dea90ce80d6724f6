//! Policies as files: whether one parses, and what comes of a DaemonSet of kured.
//!
//! What a policy may say, and what becomes of kured's flags, is decided in `palisade-plan`; here files
//! are read and answers printed.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use palisade_plan::kured::Import;
use palisade_plan::kured::ImportError;
use palisade_plan::kured::import;
use palisade_plan::policy::Advice;
use palisade_plan::policy::Policy;
use palisade_report::Moment;

/// Bytes that are read of a file; the parser takes less, and says so.
const MAX_FILE: u64 = 1 << 20;

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// The manifest is none of kured, or says what kured itself would refuse. At fault: the manifest.
    #[error("failed to import {}", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ImportError,
    },
    /// The file cannot be read. At fault: whoever named it.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nobody reads what would be said. At fault: whoever started it.
    #[error("failed to say what was found")]
    Say(#[source] io::Error),
}

impl PolicyFileError {
    /// Whether there is no such file.
    pub(crate) fn is_missing(&self) -> bool {
        match self {
            Self::Read { path: _, source } => source.kind() == io::ErrorKind::NotFound,
            Self::Import { .. } | Self::Say(_) => false,
        }
    }
}

/// Says whether the file at `path` is a policy, with what is worth knowing of it at `now`; if it is
/// none, every problem with its line, and ends with 1.
///
/// # Errors
/// [`PolicyFileError`] if that could not be told.
pub fn check(path: &Path, now: Moment, out: &mut impl Write) -> Result<ExitCode, PolicyFileError> {
    let (text, code) = match Policy::parse(&read(path)?) {
        Ok(policy) => {
            let pools = policy.pools.len();
            let mut text = format!("the policy is good: {pools} pools, digest {}", policy.digest);
            for Advice { kind: _, pool, message } in policy.advice(now) {
                let part = pool.map_or_else(|| "cluster".to_owned(), |pool| format!("pool {pool}"));
                text.push_str(&format!("\nadvice: {part}: {message}"));
            }
            (text, ExitCode::SUCCESS)
        }
        Err(error) => (error.to_string(), ExitCode::from(1)),
    };
    writeln!(out, "{text}").map_err(PolicyFileError::Say)?;
    Ok(code)
}

/// Prints the policy that comes nearest to the DaemonSet of kured in the file at `path`, and what is
/// different to `notes`.
///
/// # Errors
/// [`PolicyFileError`].
pub fn import_kured(
    path: &Path,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<ExitCode, PolicyFileError> {
    let Import { policy, notes: found } = import(&read(path)?)
        .map_err(|source| PolicyFileError::Import { path: path.to_owned(), source })?;
    write!(out, "{policy}").map_err(PolicyFileError::Say)?;
    for note in found {
        writeln!(notes, "{note}").map_err(PolicyFileError::Say)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The text of a regular file: one that is read again and again must never be waited for.
///
/// # Errors
/// [`PolicyFileError::Read`], also for a pipe or a device.
pub(crate) fn read_regular(path: &Path) -> Result<String, PolicyFileError> {
    let failed = |source| PolicyFileError::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is no regular file")));
    }
    read(path)
}

/// The text of a file; also of a pipe such as `/dev/stdin`.
///
/// # Errors
/// [`PolicyFileError::Read`].
pub(crate) fn read(path: &Path) -> Result<String, PolicyFileError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE.saturating_add(1)).read_to_string(&mut text))
        .and_then(|read| {
            // A part of it might be a whole that nobody meant.
            let fits = u64::try_from(read).is_ok_and(|read| read <= MAX_FILE);
            let larger = || io::Error::other(format!("it is larger than {MAX_FILE} bytes"));
            fits.then_some(()).ok_or_else(larger)
        })
        .map_err(|source| PolicyFileError::Read { path: path.to_owned(), source })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("palisade-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_in_part() {
        let most = usize::try_from(MAX_FILE).unwrap();
        let path = file("large.yaml", &"#".repeat(most + 1));
        let error = Chain(&read(&path).unwrap_err()).to_string();
        assert!(error.contains("larger than"), "{error}");
        std::fs::write(&path, "#".repeat(most)).unwrap();
        assert_eq!(read(&path).unwrap().len(), most);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_policy_is_good_or_every_problem_has_its_line() {
        let mut out = Vec::new();
        let now = Moment::from_unix(1_767_225_600);
        let good = file("good.yaml", palisade_plan::policy::DEFAULT_TEXT);
        assert_eq!(check(&good, now, &mut out).unwrap(), ExitCode::SUCCESS);
        let head = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n";
        let bad = file("bad.yaml", &format!("{head}cluster: {{maxUnavailable: 101%}}\npool: []\n"));
        assert_eq!(check(&bad, now, &mut out).unwrap(), ExitCode::from(1));
        let said = String::from_utf8(out).unwrap();
        assert!(said.starts_with("the policy is good: 1 pools, digest "), "{said}");
        assert!(said.contains("line 3, column 27: expected a share"), "{said}");
        assert!(said.contains("line 4, column 1: a policy has no field `pool`"), "{said}");
        let text = format!("{head}cluster: {{maxUnavailable: 0}}\n");
        let mut out = Vec::new();
        assert_eq!(check(&file("stop.yaml", &text), now, &mut out).unwrap(), ExitCode::SUCCESS);
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains("advice: cluster: `maxUnavailable` is 0"), "{said}");
        let nowhere = check(Path::new("/nowhere/policy.yaml"), now, &mut Vec::new()).unwrap_err();
        assert!(Chain(&nowhere).to_string().contains("/nowhere/policy.yaml"));
    }

    #[test]
    fn a_daemon_set_becomes_a_policy_and_its_differences_are_told_apart() {
        let manifest = "kind: DaemonSet\nspec: {template: {spec: {containers: [{name: kured, \
                        command: [kured, --concurrency=2, --lock-ttl=1h, --turbo]}]}}}\n";
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let path = file("kured.yaml", manifest);
        assert_eq!(import_kured(&path, &mut out, &mut notes).unwrap(), ExitCode::SUCCESS);
        let policy = String::from_utf8(out).unwrap();
        assert_eq!(Policy::parse(&policy).unwrap().pools.len(), 1, "{policy}");
        let notes = String::from_utf8(notes).unwrap();
        for begin in ["mapped: --concurrency: ", "dropped: --lock-ttl: ", "unknown: --turbo: "] {
            assert!(notes.lines().any(|line| line.starts_with(begin)), "{begin}: {notes}");
        }
        let other = file("other.yaml", "kind: Deployment\n");
        let error = import_kured(&other, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert!(Chain(&error).to_string().contains("no DaemonSet"), "{}", Chain(&error));
    }
}
