//! Up to the point where TLS begins (RFC 3207). Nothing that is said before counts afterwards: it is
//! read byte by byte and forgotten, so that nobody in between can put words behind the answer that are
//! taken for the server's own later.

use std::io;

use lettre::transport::smtp::extension::ClientId;
use palisade_report::bound::clean;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;

use super::MAX_SAID;
use super::MailError;
use super::Standing;
use crate::notify::egress::Host;

/// Bytes of one reply; a line has 512, and a greeting some lines.
const MAX_REPLY: usize = 16 * 1024;

/// Asks for TLS. When it is granted, the next byte either way is of TLS.
pub(super) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &Host,
    hello: &ClientId,
) -> Result<(), MailError> {
    expect(stream, host, "220").await?;
    say(stream, host, &format!("EHLO {hello}\r\n")).await?;
    let offers = expect(stream, host, "250").await?;
    let is_offer =
        |line: &str| line.get(4..).is_some_and(|it| it.trim_end().eq_ignore_ascii_case("STARTTLS"));
    if !offers.lines().any(is_offer) {
        return Err(MailError::NoStartTls { host: host.clone() });
    }
    say(stream, host, "STARTTLS\r\n").await?;
    expect(stream, host, "220").await?;
    Ok(())
}

async fn say(
    stream: &mut (impl AsyncWrite + Unpin),
    host: &Host,
    text: &str,
) -> Result<(), MailError> {
    stream.write_all(text.as_bytes()).await.map_err(|error| talk(host, &error.to_string()))
}

/// A reply with this code.
async fn expect(
    stream: &mut (impl AsyncRead + Unpin),
    host: &Host,
    code: &str,
) -> Result<String, MailError> {
    let reply = read(stream).await.map_err(|error| talk(host, &error.to_string()))?;
    if reply.starts_with(code) {
        return Ok(reply);
    }
    let said = clean(reply.trim_end().as_bytes(), MAX_SAID);
    let host = host.clone();
    match reply.bytes().next() {
        Some(b'4') => Err(MailError::Refused { host, said, standing: Standing::Passing }),
        Some(b'5') => Err(MailError::Refused { host, said, standing: Standing::Final }),
        Some(_) | None => Err(MailError::Talk { host, said }),
    }
}

/// All lines of a reply: the last one has no hyphen behind its code.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut reply = Vec::new();
    let mut line = 0;
    while reply.len() < MAX_REPLY {
        let byte = stream.read_u8().await?;
        reply.push(byte);
        if byte == b'\n' {
            if reply.get(line + 3) != Some(&b'-') {
                return Ok(String::from_utf8_lossy(&reply).into_owned());
            }
            line = reply.len();
        }
    }
    Err(io::Error::other("the server says too much"))
}

fn talk(host: &Host, said: &str) -> MailError {
    MailError::Talk { host: host.clone(), said: clean(said.as_bytes(), MAX_SAID) }
}
