//! One mail to a server that takes mails (SMTP), over a connection that the guard let through. What
//! a mail says is made in `palisade-alert`.
//!
//! ```text
//! implicit   connect ─> TLS ──────────────────────────────┐
//! starttls   connect ─> EHLO ─> STARTTLS ─> TLS ──────────┼─> EHLO ─> AUTH ─> MAIL, RCPT.. ─> DATA
//! none       connect, within private networks or listed ──┘
//! ```
//!
//! A recipient whom the server refuses keeps the mail from no other. What the server says is
//! bounded, and made safe to show.

use std::net::SocketAddr;
use std::time::Duration;

use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::Data;
use lettre::transport::smtp::commands::Mail;
use lettre::transport::smtp::commands::Rcpt;
use lettre::transport::smtp::extension::ClientId;
use palisade_alert::outgoing::Email;
use palisade_alert::outgoing::Outcome;
use palisade_alert::receiver::MailServer;
use palisade_alert::receiver::MailTls;
use palisade_report::Moment;
use palisade_report::bound::clean;
use tokio::time::timeout;

use self::letter::Letter;
use self::line::Line;
use super::dial::DialError;
use super::dial::Dialer;
use super::egress::Host;
use super::egress::RefusedUrl;
use super::egress::Transport;
use super::post::PATIENCE_FOR_PEOPLE;
use crate::chain::Chain;

mod letter;
mod line;
mod starttls;

/// Bytes that are kept of what a server says.
const MAX_SAID: usize = 200;

/// Codes by which a server says that it wants another login (RFC 4954).
const LOGIN_CODES: [u16; 4] = [530, 534, 535, 538];

/// Whether a server would say the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It would: a code from 500 on.
    Final,
    /// It may take it later: a code from 400 on.
    Passing,
}

/// A mail is on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Recipients whom the server refused, while it took others, each with what it said.
    pub refused: Vec<(String, String)>,
}

impl Handed {
    /// What it means for a mail to so many: it is not sent again for some of them, because it would have
    /// to go to those who have it, too.
    #[must_use]
    pub fn outcome(&self, recipients: usize) -> Outcome {
        let refused = self.refused.len();
        match self.refused.first() {
            None => Outcome::Delivered,
            Some((to, said)) => Outcome::Partial {
                why: format!("{refused} of {recipients} recipients: {to}: {said}"),
            },
        }
    }
}

/// Why a mail is not on its way. At fault: the server, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// An address of sender or recipient cannot be used. At fault: configuration.
    #[error("failed to use the mail address {text:?}")]
    Address {
        /// The address.
        text: String,
    },
    /// A mail without recipients, or without chance for its name. At fault: us, or configuration.
    #[error("failed to write the mail: {why}")]
    Build {
        /// Why.
        why: String,
    },
    /// No connection.
    #[error("failed to reach the mail server")]
    Dial(#[source] DialError),
    /// The server's name cannot be used. At fault: configuration.
    #[error("failed to read the name of the mail server")]
    Host(#[source] RefusedUrl),
    /// The server knows no such user, or asks for one. At fault: configuration.
    #[error("failed to log in to {host}: {said}")]
    Login {
        /// The server.
        host: Host,
        /// What it said.
        said: String,
    },
    /// It offers no TLS, and TLS was asked for: somebody may be in between.
    #[error("failed to encrypt the connection to {host}: it does not offer STARTTLS")]
    NoStartTls {
        /// The server.
        host: Host,
    },
    /// It does not take the mail, for nobody.
    #[error("failed to hand the mail to {host}: {said}")]
    Refused {
        /// The server.
        host: Host,
        /// What it said.
        said: String,
        /// Whether it would say so again.
        standing: Standing,
    },
    /// It does not speak as a mail server does, or stopped to.
    #[error("failed to talk to {host}: {said}")]
    Talk {
        /// The server.
        host: Host,
        /// What happened.
        said: String,
    },
    /// Not in time. The mail may be on its way.
    #[error("failed to hand the mail to {host} within {within:?}")]
    TimedOut {
        /// The server.
        host: Host,
        /// The time it had.
        within: Duration,
    },
}

impl MailError {
    /// What it means for the mail.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let why = Chain(self).to_string();
        let is_for_people = match self {
            Self::Refused { standing: Standing::Final, .. } => return Outcome::Dead { why },
            Self::Address { .. }
            | Self::Build { .. }
            | Self::Host(_)
            | Self::Login { .. }
            | Self::NoStartTls { .. } => true,
            Self::Dial(error) => error.is_for_people(),
            Self::Refused { standing: Standing::Passing, .. } => false,
            Self::Talk { .. } | Self::TimedOut { .. } => {
                return Outcome::Lost { after: None, why };
            }
        };
        Outcome::Retry { after: is_for_people.then_some(PATIENCE_FOR_PEOPLE), why }
    }

    /// A word for metrics, of a closed set.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Address { .. } | Self::Build { .. } | Self::Host(_) => "settings",
            Self::Dial(error) => error.class(),
            Self::Login { .. } => "login",
            Self::NoStartTls { .. } => "tls",
            Self::Refused { .. } => "refused",
            Self::Talk { .. } => "exchange",
            Self::TimedOut { .. } => "timeout",
        }
    }

    /// What `error` is, said by `host`. The library's errors print their own causes.
    fn of(host: &Host, error: &SmtpError) -> Self {
        let (host, said) = (host.clone(), clean(error.to_string().as_bytes(), MAX_SAID));
        if error.status().is_some_and(|code| LOGIN_CODES.contains(&u16::from(code))) {
            return Self::Login { host, said };
        }
        if error.is_permanent() {
            return Self::Refused { host, said, standing: Standing::Final };
        }
        if error.is_transient() {
            return Self::Refused { host, said, standing: Standing::Passing };
        }
        Self::Talk { host, said }
    }
}

/// Hands `mail` to `server`, dated `now`.
///
/// # Errors
/// [`MailError`].
pub async fn send(
    mail: &Email,
    server: &MailServer,
    dialer: &Dialer,
    now: Moment,
) -> Result<Handed, MailError> {
    let MailServer { host, port, tls, user, password } = server;
    let host = Host::parse(host).map_err(MailError::Host)?;
    let letter = Letter::of(mail, now)?;
    let login = user.as_ref().map(|user| {
        let password = password.as_ref().map(|it| it.reveal().to_owned()).unwrap_or_default();
        Credentials::new(user.clone(), password)
    });
    let within = dialer.times.total;
    let handing = async {
        let (line, hello) = connect(&host, *port, *tls, dialer).await?;
        converse(&host, line, &hello, login, &letter).await
    };
    match timeout(within, handing).await {
        Ok(handed) => handed,
        Err(_) => Err(MailError::TimedOut { host, within }),
    }
}

/// A line to the server on which it greets, and the name by which it is greeted.
async fn connect(
    host: &Host,
    port: u16,
    tls: MailTls,
    dialer: &Dialer,
) -> Result<(Line, ClientId), MailError> {
    let transport = match tls {
        MailTls::Implicit | MailTls::StartTls => Transport::Tls,
        MailTls::None => Transport::Clear,
    };
    let mut stream = dialer.connect(host, port, transport).await.map_err(MailError::Dial)?;
    let ends = stream.local_addr().and_then(|own| Ok((own, stream.peer_addr()?)));
    let (own, peer) =
        ends.map_err(|source| MailError::Dial(DialError::Connect { host: host.clone(), source }))?;
    // A pod has no name that means anything to a mail server (RFC 5321, 4.1.3).
    let hello = match own {
        SocketAddr::V4(own) => ClientId::Ipv4(*own.ip()),
        SocketAddr::V6(own) => ClientId::Ipv6(*own.ip()),
    };
    let line = match tls {
        MailTls::None => Line::new(stream, peer),
        MailTls::Implicit => {
            Line::new(dialer.encrypt(stream, host).await.map_err(MailError::Dial)?, peer)
        }
        MailTls::StartTls => {
            starttls::ask(&mut stream, host, &hello).await?;
            Line::greeted(dialer.encrypt(stream, host).await.map_err(MailError::Dial)?, peer)
        }
    };
    Ok((line, hello))
}

async fn converse(
    host: &Host,
    line: Line,
    hello: &ClientId,
    login: Option<Credentials>,
    letter: &Letter,
) -> Result<Handed, MailError> {
    let failed = |error: SmtpError| MailError::of(host, &error);
    let mut smtp =
        AsyncSmtpConnection::connect_with_transport(Box::new(line), hello).await.map_err(failed)?;
    if let Some(login) = login {
        smtp.auth(&[Mechanism::Plain, Mechanism::Login], &login).await.map_err(|error| {
            let said = clean(error.to_string().as_bytes(), MAX_SAID);
            // A server that is only busy knows nothing of the user yet.
            if error.is_permanent() || error.is_client() {
                return MailError::Login { host: host.clone(), said };
            }
            MailError::of(host, &error)
        })?;
    }
    let Letter { from, to, bytes } = letter;
    smtp.command(Mail::new(Some(from.clone()), vec![])).await.map_err(failed)?;
    let mut handed = Handed::default();
    let mut last = None;
    for address in to {
        if let Err(error) = smtp.command(Rcpt::new(address.clone(), vec![])).await {
            let error = failed(error);
            match error {
                MailError::Refused { ref said, standing, .. } => {
                    handed.refused.push((address.to_string(), said.clone()));
                    // If nobody is left, it is worth another try as long as one may be taken later.
                    if last.is_none() || standing == Standing::Passing {
                        last = Some(error);
                    }
                }
                MailError::Address { .. }
                | MailError::Build { .. }
                | MailError::Dial(_)
                | MailError::Host(_)
                | MailError::Login { .. }
                | MailError::NoStartTls { .. }
                | MailError::Talk { .. }
                | MailError::TimedOut { .. } => return Err(error),
            }
        }
    }
    if let Some(error) = last
        && handed.refused.len() == to.len()
    {
        return Err(error);
    }
    smtp.command(Data).await.map_err(failed)?;
    smtp.message(bytes).await.map_err(failed)?;
    // It is taken; what comes of the farewell changes nothing.
    drop(smtp.quit().await);
    Ok(handed)
}

#[cfg(test)]
mod tests;
