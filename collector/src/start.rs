//! From arguments to a running collector: logging, runtime, signals. `main` calls this and prints.

use std::io;
use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::command;
use crate::command::Command;
use crate::command::Verb;
use crate::command::VerifyAuditError;
use crate::command::simulate::SimulateError;
use crate::notify;
use crate::policy_file;
use crate::policy_file::PolicyFileError;
use crate::run::RunError;
use crate::run::run;
use crate::settings::InvalidSettings;
use crate::settings::Raw;
use crate::settings::Settings;

/// Threads that answer: the work is in herds, not in arithmetic; walks over many nodes and the
/// store have threads of their own.
const WORKERS: usize = 2;

/// Why the process cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict each other. At fault: configuration.
    #[error("failed to use the settings")]
    Settings(#[source] InvalidSettings),
    /// The runtime cannot be made. At fault: the machine.
    #[error("failed to start the runtime")]
    Runtime(#[source] io::Error),
    /// Signals cannot be waited for. At fault: the machine.
    #[error("failed to listen for signals")]
    Signals(#[source] io::Error),
    /// The collector cannot run.
    #[error("failed to run")]
    Run(#[source] RunError),
    /// The file cannot be used.
    #[error("failed to look at the policy")]
    PolicyFile(#[source] PolicyFileError),
    /// There is nothing to simulate.
    #[error("failed to simulate")]
    Simulate(#[source] SimulateError),
    /// The audit cannot be looked at.
    #[error("failed to verify the audit")]
    VerifyAudit(#[source] VerifyAuditError),
}

/// Does what is asked for, and ends with what is returned.
///
/// # Errors
/// [`StartError`].
pub fn start(command: Command) -> Result<ExitCode, StartError> {
    let Command { raw, verb } = command;
    match verb {
        Some(Verb::CheckAlerts { file }) => {
            notify::file::check(&file, &mut io::stdout()).map_err(StartError::PolicyFile)
        }
        Some(Verb::CheckPolicy { file }) => {
            policy_file::check(&file, SystemClock::start().now(), &mut io::stdout())
                .map_err(StartError::PolicyFile)
        }
        Some(Verb::ImportKured { file }) => {
            policy_file::import_kured(&file, &mut io::stdout(), &mut io::stderr())
                .map_err(StartError::PolicyFile)
        }
        Some(Verb::Simulate(asked)) => {
            command::simulate::run(&asked, &mut io::stdout().lock()).map_err(StartError::Simulate)
        }
        Some(Verb::VerifyAudit { store }) => {
            command::say_whether_it_holds(&store, &mut io::stdout())
                .map_err(StartError::VerifyAudit)
        }
        None => serve(raw).map(|()| ExitCode::SUCCESS),
    }
}

/// Runs until SIGTERM or SIGINT.
fn serve(raw: Raw) -> Result<(), StartError> {
    let settings = Settings::try_from(raw).map_err(StartError::Settings)?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_max_level(LevelFilter::INFO)
        .with_writer(io::stderr)
        .init();
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    runtime.block_on(async {
        let shutdown = stop_signal().map_err(StartError::Signals)?;
        run(settings, shutdown).await.map_err(StartError::Run)
    })
}

/// Takes as many descriptors as this process may have: the customary 1,024 are fewer than the
/// connections of strangers alone, and the store needs some, too.
fn raise_descriptors() {
    use nix::sys::resource::Resource;
    use nix::sys::resource::getrlimit;
    use nix::sys::resource::setrlimit;
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Done when the process is asked to end.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::SignalKind;
    use tokio::signal::unix::signal;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
