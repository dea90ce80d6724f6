//! The file that says who is told what, read again and again. One that cannot be used changes nothing,
//! and that is told.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use palisade_alert::config::Config;
use palisade_alert::config::ParseConfigError;
use palisade_report::bound::clean;

use super::egress::Allowed;
use crate::chain::Chain;
use crate::policy_file::PolicyFileError;
use crate::policy_file::read;
use crate::policy_file::read_regular;
use crate::replace::replace;

/// Bytes of a complaint that are shown.
const MAX_COMPLAINT: usize = 1024;

/// The file cannot be used. At fault: its author, or whoever named it.
#[derive(Debug, thiserror::Error)]
pub enum LoadConfigError {
    /// It cannot be read.
    #[error("failed to read the alert configuration")]
    Read(#[source] PolicyFileError),
    /// It makes no sense.
    #[error("failed to use the alert configuration in {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ParseConfigError,
    },
}

/// The last file that could be used, beside the store of alerts: for a start with one that cannot.
const LAST_GOOD: &str = "alerts.last-good.yaml";

/// The settings to start with: those in the file at `path`; if they cannot be used, the last ones that
/// could, as kept beside `store`; if there are none, none. Whoever reads the file again tells of it.
#[must_use]
pub fn at_start(path: &Path, store: &Path) -> Config {
    let error = match load(path) {
        Ok(config) => return config,
        Err(error) => error,
    };
    let cause = complaint(&error);
    match load(&store.with_file_name(LAST_GOOD)) {
        Ok(config) => {
            tracing::error!(cause, "the last good alert configuration is in force");
            config
        }
        Err(error) => {
            let last_good = complaint(&error);
            tracing::error!(cause, last_good, "nobody is told of alerts until it is good");
            Config::default()
        }
    }
}

/// Reads the file at `path`.
///
/// # Errors
/// [`LoadConfigError`].
pub fn load(path: &Path) -> Result<Config, LoadConfigError> {
    let text = read_regular(path).map_err(LoadConfigError::Read)?;
    parse(path, &text)
}

/// Says whether the file at `path` can be used; if it cannot, where it is wrong, and ends with 1.
///
/// # Errors
/// [`PolicyFileError`] if that could not be told.
pub fn check(path: &Path, out: &mut impl Write) -> Result<ExitCode, PolicyFileError> {
    let (text, code) = match problem(&read(path)?) {
        Ok(Config { receivers, routes, .. }) => {
            let (receivers, routes) = (receivers.len(), routes.len());
            let good = "the configuration of alerts is good";
            (format!("{good}: {receivers} receivers, {routes} routes"), ExitCode::SUCCESS)
        }
        Err(problem) => (problem, ExitCode::from(1)),
    };
    writeln!(out, "{text}").map_err(PolicyFileError::Say)?;
    Ok(code)
}

/// The settings, as far as they can be checked without what is in other files; or what is wrong.
fn problem(text: &str) -> Result<Config, String> {
    let config =
        Config::parse(text).map_err(|error| without_secrets(&Chain(&error).to_string()))?;
    for (at, allowed) in config.allowed_egress.iter().enumerate() {
        allowed
            .parse::<Allowed>()
            .map_err(|error| format!("egress.allow[{at}]: {}", Chain(&error)))?;
    }
    for (at, receiver) in config.receivers.iter().enumerate() {
        if let (true, Err(error)) = (receiver.files().is_empty(), receiver.target(&|_| None)) {
            return Err(format!("receivers[{at}]: {}", Chain(&error)));
        }
    }
    Ok(config)
}

fn parse(path: &Path, text: &str) -> Result<Config, LoadConfigError> {
    Config::parse(text).map_err(|source| LoadConfigError::Parse { path: path.to_owned(), source })
}

/// What is wrong, for people: bounded, and without addresses, which hold secrets. One that is written where
/// a name should be is part of the parser's words; values are not.
#[must_use]
pub fn complaint(error: &LoadConfigError) -> String {
    without_secrets(&Chain(error).to_string())
}

fn without_secrets(text: &str) -> String {
    let word = |word: &str| match word.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…"),
        None => word.to_owned(),
    };
    let words: Vec<String> = text.split(' ').map(word).collect();
    clean(words.join(" ").as_bytes(), MAX_COMPLAINT)
}

/// The file, and what came of it last.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    /// Where the last good text is kept.
    last_good: PathBuf,
    text: Option<String>,
    refused: Option<String>,
}

impl ConfigFile {
    /// The file at `path`, not read yet. Its last good text is kept beside `store`.
    pub(super) fn at(path: PathBuf, store: &Path) -> Self {
        let last_good = store.with_file_name(LAST_GOOD);
        Self { path, last_good, text: None, refused: None }
    }

    /// Why the newest one is not followed.
    pub(super) const fn refused(&self) -> Option<&String> {
        self.refused.as_ref()
    }

    /// Keeps the text for a start at which the file cannot be used.
    fn keep(&self) {
        let new = self.last_good.with_extension("new");
        let text = self.text.as_deref().unwrap_or_default();
        // There are secrets in it where people wrote them there.
        if let Err(error) = replace(&new, &self.last_good, text, 0o600) {
            let path = self.last_good.display();
            tracing::warn!(%path, %error, "the alert configuration is not kept for the next start");
        }
    }

    /// Other settings, if somebody has written some.
    pub(super) fn reload(&mut self) -> Option<Arc<Config>> {
        let loaded = match read_regular(&self.path) {
            Ok(text) if self.text.as_ref() == Some(&text) && self.refused.is_none() => return None,
            Ok(text) => {
                let loaded = parse(&self.path, &text);
                self.text = Some(text);
                loaded
            }
            Err(error) => Err(LoadConfigError::Read(error)),
        };
        match loaded {
            Ok(config) => {
                self.refused = None;
                tracing::info!(path = %self.path.display(), "an alert configuration is in force");
                self.keep();
                Some(Arc::new(config))
            }
            Err(error) => {
                let complaint = complaint(&error);
                if self.refused.as_ref() != Some(&complaint) {
                    tracing::error!(cause = complaint, "the alert configuration is as it was");
                    self.refused = Some(complaint);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_good_or_the_place_of_its_problem_is_told() {
        let head = "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\n";
        let ask = |text: &str| {
            let name = format!("palisade-check-alerts-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, format!("{head}{text}")).unwrap();
            let mut out = Vec::new();
            let code = check(&path, &mut out).unwrap();
            std::fs::remove_file(&path).unwrap();
            (String::from_utf8(out).unwrap(), code)
        };
        let chat = "receivers: [{name: chat, slack: {urlFile: /nowhere/url}}]\n";
        let (said, code) = ask(&format!("{chat}fallback: [chat]\n"));
        assert_eq!(said, "the configuration of alerts is good: 1 receivers, 0 routes\n");
        assert_eq!(code, ExitCode::SUCCESS, "files of secrets are not read");
        for (text, place) in [
            ("moon: full\n", "moon"),
            ("fallback: [nobody]\n", "fallback: there is no receiver nobody"),
            ("egress: {allow: ['10.0.0.0/99']}\n", "egress.allow[0]: "),
            ("receivers: [{name: a, opsgenie: 's3cret'}]\n", "line 3"),
            ("receivers: [{name: a, sendResolved: s3cret, kubernetesEvents: {}}]\n", "line 3"),
            ("receivers: [{name: a, webhook: [s3cret]}]\n", "line 3"),
            ("egress: {allow: [s3cret]}\nfallback: {s3cret: 1}\n", "line"),
        ] {
            let (said, code) = ask(text);
            assert!(said.contains(place), "{text}: {said}");
            assert_eq!(code, ExitCode::from(1), "{text}");
            assert!(!said.contains("s3cr"), "{said}");
        }
        assert!(check(Path::new("/nowhere/alerts.yaml"), &mut Vec::new()).is_err());
    }

    #[test]
    fn what_cannot_be_used_changes_nothing_and_is_told() {
        let directory =
            std::env::temp_dir().join(format!("palisade-alerts-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("alerts.yaml");
        let store = directory.join("alerts.db");
        let mut file = ConfigFile::at(path.clone(), &store);
        assert!(file.reload().is_none());
        assert!(file.refused().unwrap().contains("alerts.yaml"), "{:?}", file.refused());
        let head = "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\n";
        std::fs::write(&path, format!("{head}cluster: one\n")).unwrap();
        assert_eq!(file.reload().unwrap().cluster, "one");
        assert!(file.reload().is_none() && file.refused().is_none());
        std::fs::write(&path, format!("{head}fallback: [nobody]\n")).unwrap();
        assert!(file.reload().is_none());
        assert!(file.refused().unwrap().contains("there is no receiver nobody"));
        std::fs::write(&path, format!("{head}cluster: one\n")).unwrap();
        assert_eq!(file.reload().unwrap().cluster, "one");
        let slip =
            "receivers: [{name: a, slack: {url:https://hooks.slack.com/services/T/B/x: }}]\n";
        std::fs::write(&path, format!("{head}{slip}")).unwrap();
        assert!(file.reload().is_none());
        assert!(!file.refused().unwrap().contains("hooks.slack"), "{:?}", file.refused());
        // A process that starts now begins with what was good; without that, with nobody to tell.
        assert_eq!(at_start(&path, &store).cluster, "one");
        std::fs::remove_file(directory.join(LAST_GOOD)).unwrap();
        assert_eq!(at_start(&path, &store).cluster, Config::default().cluster);
    }
}
