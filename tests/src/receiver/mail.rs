//! A mail server on loopback: it keeps what it is given, or refuses it at any step, RFC 5321. With
//! STARTTLS, RFC 3207; with AUTH PLAIN and LOGIN, RFC 4954, where every password is right.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::io::AsyncBufRead;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::listen;
use super::tls::Certificate;
use super::tls::Identity;
use crate::cluster::port::Port;
use crate::wait;

/// Bytes of a line that nobody who is tested exceeds; RFC 5321 has 1,000 for text.
const MAX_LINE: usize = 64 * 1024;

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The sender of the envelope, without brackets.
    pub from: String,
    /// The recipients of the envelope, without brackets.
    pub to: Vec<String>,
    /// Headers and text, with `\r\n`, dots unstuffed.
    pub data: String,
    /// Whether it came over TLS.
    pub way: Way,
    /// What the client said to prove who it is, decoded by nobody.
    pub proof: Option<String>,
}

/// How a mail came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In clear text.
    Clear,
    /// Over TLS.
    Tls,
}

impl Mail {
    /// A header, unfolded; empty if it has none of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let (head, _) = self.data.split_once("\r\n\r\n").unwrap_or((&self.data, ""));
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut lines = unfolded.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    }
}

/// A step of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Before the client says anything.
    Greeting,
    /// `EHLO` or `HELO`.
    Hello,
    /// `AUTH`.
    Auth,
    /// `MAIL FROM`.
    From,
    /// `RCPT TO`.
    To,
    /// `DATA`.
    Data,
    /// The end of the mail.
    End,
}

/// How a mail server behaves.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// At this step, the answer is this line (`451 later`, `550 no`) instead.
    pub refuses: Option<(Step, String)>,
    /// Offers STARTTLS, with this certificate.
    pub certificate: Option<Certificate>,
    /// At this step, the connection ends.
    pub drops: Option<Step>,
}

/// A mail server that runs until it is dropped.
#[derive(Debug)]
pub struct MailServer {
    address: SocketAddr,
    house: Arc<House>,
    runtime: Option<Runtime>,
    _port: Port,
}

#[derive(Debug)]
struct House {
    manners: Mutex<Manners>,
    mails: Mutex<Vec<Mail>>,
    identity: Identity,
}

impl MailServer {
    /// Listens on a port that the kernel chooses.
    ///
    /// # Panics
    /// If the machine has none.
    #[must_use]
    pub fn start(manners: Manners) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mail")
            .enable_all()
            .build()
            .expect("a runtime");
        let port = Port::reserve();
        let house = House {
            manners: Mutex::new(manners),
            mails: Mutex::new(Vec::new()),
            identity: Identity::new(),
        };
        let house = Arc::new(house);
        let listener = listen::bind(&runtime, port.address());
        let shared = Arc::clone(&house);
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let house = Arc::clone(&shared);
                tokio::spawn(async move {
                    // Who hangs up is how many tests end a connection.
                    serve(stream, &house).await.ok();
                });
            }
        });
        Self { address: port.address(), house, runtime: Some(runtime), _port: port }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority, PEM, of its good certificate.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.house.identity.authority()
    }

    /// Behaves like this from the next step on.
    pub fn be(&self, manners: Manners) {
        *self.house.manners.lock().unwrap_or_else(PoisonError::into_inner) = manners;
    }

    /// The mails that it has taken, in order.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.house.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has taken so many mails, and returns all.
    ///
    /// # Panics
    /// If they do not come within `within`.
    #[must_use]
    pub fn until(&self, count: usize, within: Duration) -> Vec<Mail> {
        wait::until("mails", within, || {
            let mails = self.mails();
            if mails.len() >= count { Ok(mails) } else { Err(mails) }
        })
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What follows a conversation.
enum Next {
    Nothing,
    Tls,
}

async fn serve(stream: TcpStream, house: &House) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    match talk(&mut stream, house, Way::Clear).await? {
        Next::Nothing => Ok(()),
        Next::Tls => {
            let certificate = house.manners().certificate.unwrap_or(Certificate::Good);
            let stream = house.identity.greet(stream.into_inner(), certificate).await?;
            talk(&mut BufReader::new(stream), house, Way::Tls).await.map(|_| ())
        }
    }
}

impl House {
    fn manners(&self) -> Manners {
        self.manners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What to say at this step, where `usual` is what decent servers say. An error ends it.
    fn say(&self, step: Step, usual: &str) -> std::io::Result<String> {
        let Manners { refuses, certificate: _, drops } = self.manners();
        if drops == Some(step) {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        let refusal = refuses.filter(|(at, _)| *at == step).map(|(_, line)| line);
        Ok(refusal.unwrap_or_else(|| usual.to_owned()))
    }
}

async fn talk<S>(stream: &mut BufReader<S>, house: &House, way: Way) -> std::io::Result<Next>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut mail = empty(way);
    if way == Way::Clear {
        say(stream, &house.say(Step::Greeting, "220 localhost ESMTP")?).await?;
    }
    while let Some(line) = line(stream).await? {
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "AUTH" => {
                mail.proof = Some(proof(stream, rest).await?);
                say(stream, &house.say(Step::Auth, "235 welcome")?).await?;
            }
            "DATA" => {
                let go = house.say(Step::Data, "354 go on, and end with a dot")?;
                say(stream, &go).await?;
                if go.starts_with('3') {
                    mail.data = data(stream).await?;
                    let end = house.say(Step::End, "250 taken")?;
                    if end.starts_with('2') {
                        let whole = std::mem::replace(&mut mail, empty(way));
                        mail.proof.clone_from(&whole.proof);
                        house.mails.lock().unwrap_or_else(PoisonError::into_inner).push(whole);
                    }
                    say(stream, &end).await?;
                }
            }
            "EHLO" | "HELO" => {
                let offers = match (way, house.manners().certificate) {
                    (Way::Clear, Some(_)) => "250-localhost\r\n250-STARTTLS\r\n",
                    _ => "250-localhost\r\n",
                };
                let usual =
                    format!("{offers}250-AUTH PLAIN LOGIN\r\n250-8BITMIME\r\n250 SIZE 10485760");
                say(stream, &house.say(Step::Hello, &usual)?).await?;
            }
            "MAIL" => {
                let answer = house.say(Step::From, "250 so be it")?;
                mail.from = address(rest);
                mail.to.clear();
                say(stream, &answer).await?;
            }
            "NOOP" => say(stream, "250 nothing done").await?,
            "QUIT" => {
                say(stream, "221 farewell").await?;
                return Ok(Next::Nothing);
            }
            "RCPT" => {
                let answer = house.say(Step::To, "250 so be it")?;
                if answer.starts_with('2') {
                    mail.to.push(address(rest));
                }
                say(stream, &answer).await?;
            }
            "RSET" => {
                mail = Mail { proof: mail.proof, ..empty(way) };
                say(stream, "250 forgotten").await?;
            }
            "STARTTLS" if way == Way::Clear && house.manners().certificate.is_some() => {
                say(stream, "220 go on").await?;
                return Ok(Next::Tls);
            }
            _ => say(stream, "502 not understood").await?,
        }
    }
    Ok(Next::Nothing)
}

const fn empty(way: Way) -> Mail {
    Mail { from: String::new(), to: Vec::new(), data: String::new(), way, proof: None }
}

/// What is between the brackets of `FROM:<...>`.
fn address(rest: &str) -> String {
    let inside = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(rest, |(inside, _)| inside).to_owned()
}

/// The words of a client that proves who it is: with the command, or when it is asked for them.
async fn proof<S>(stream: &mut BufReader<S>, rest: &str) -> std::io::Result<String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut said = rest.to_owned();
    // `LOGIN` asks for a name and a password, `PLAIN` without its words for both at once.
    let questions: &[&str] = match rest.to_ascii_uppercase().as_str() {
        "LOGIN" => &["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"],
        "PLAIN" => &["334 "],
        _ => &[],
    };
    for question in questions {
        say(stream, question).await?;
        said.push(' ');
        said.push_str(&line(stream).await?.unwrap_or_default());
    }
    Ok(said)
}

async fn data<S>(stream: &mut BufReader<S>) -> std::io::Result<String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut data = String::new();
    while let Some(line) = line(stream).await? {
        if line == "." {
            return Ok(data);
        }
        data.push_str(line.strip_prefix('.').unwrap_or(&line));
        data.push_str("\r\n");
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line).await? == 0 || line.len() > MAX_LINE {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn say<S>(stream: &mut BufReader<S>, text: &str) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(format!("{text}\r\n").as_bytes()).await?;
    stream.flush().await
}
