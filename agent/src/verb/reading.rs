//! `keeper` and `reader`: the processes that `run --confine split` starts, see [`crate::reader`].
//! Nobody starts them by hand; standard input is a socket to the parsing process.

use std::io;
use std::path::PathBuf;

use clap::Args;
use palisade_inspect::Host;
use palisade_inspect::Nature;
use palisade_inspect::reach::Reach;

use super::Output;
use crate::Tree;
use crate::memo::Local;
use crate::reader::Hello;
use crate::reader::Server;
use crate::reader::charter;
use crate::reader::keeper;
use crate::reader::keeper::KeepError;
use crate::sandbox;
use crate::sandbox::ConfineError;
use crate::tree::OpenTreeError;

/// Started by `run --confine split`
#[derive(Debug, Args)]
pub(super) struct ReadingArgs {
    /// Directory that is inspected as a host
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// What the rules look at
    #[arg(long, hide = true, env = charter::VARIABLE, default_value = "")]
    interest: String,
}

/// The reader could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadingError {
    /// It could not give up its rights. At fault: the kernel, or us.
    #[error("failed to confine the reading process")]
    Confine(#[source] ConfineError),
    /// The root is no host. At fault: `--root`.
    #[error("failed to open the host")]
    Open(#[source] OpenTreeError),
    /// Its rights cannot be told. At fault: the container, which hides `/proc`.
    #[error("failed to read the own rights")]
    Rights(#[source] io::Error),
    /// It and the parser do not understand one another.
    #[error("failed to serve the parsing process")]
    Serve(#[source] crate::reader::ServeError),
    /// Standard input is no socket. At fault: whoever started it by hand.
    #[error("failed to use standard input: this is started by `run --confine split`")]
    Stdin(#[source] io::Error),
}

pub(super) fn keep(args: ReadingArgs) -> Result<Output, KeepError> {
    let ReadingArgs { root, interest } = args;
    super::run::log();
    keeper::keep(&root, &interest).map(|()| Output { text: String::new(), code: 0 })
}

pub(super) fn read(args: ReadingArgs) -> Result<Output, ReadingError> {
    let ReadingArgs { root, interest } = args;
    super::run::log();
    let socket = keeper::inherited().map_err(ReadingError::Stdin)?;
    sandbox::confine_reader().map_err(ReadingError::Confine)?;
    let tree = Tree::open(&root).map_err(ReadingError::Open)?;
    let hello = Hello {
        is_live: tree.nature() == Nature::Live,
        resolver: sandbox::resolver(&tree).to_owned(),
        rights: sandbox::capability::rights().map_err(ReadingError::Rights)?,
    };
    let reach = Reach::new(&charter::parse(&interest));
    let mut server = Server::new(socket, Local::new(tree, None), reach);
    server.run(&hello).map_err(ReadingError::Serve)?;
    Ok(Output { text: String::new(), code: 0 })
}
