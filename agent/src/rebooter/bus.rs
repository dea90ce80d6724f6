//! A method call to logind over the system bus, written by hand: three messages of the D-Bus
//! specification 0.43 do not need a library in the process that holds the means to reboot.
//!
//! ```text
//! \0 AUTH EXTERNAL <uid> ─> OK ─> BEGIN ─> Hello ─> return ─> CanReboot | Reboot ─> return | error
//! ```
//!
//! Of what comes back only the kind and the first string are read. One call is in flight at a time, so
//! the next return or error is its answer; signals are passed over.

use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// The bus answers at once; logind may first look at inhibitors and ask polkit.
const ANSWERS_WITHIN: Duration = Duration::from_secs(25);

/// Bytes of a message: the answers that are awaited have a few hundred.
const MAX_MESSAGE: usize = 64 * 1024;

/// Messages to pass over while waiting for an answer. The bus itself sends one, that a name is ours.
const MAX_MESSAGES: usize = 32;

/// Bytes of a line of the authentication.
const MAX_LINE: usize = 256;

/// Kinds of messages: `METHOD_CALL`, `METHOD_RETURN`, `ERROR`.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;

/// logind could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no bus. At fault: the mount of its socket.
    #[error("failed to connect to the system bus at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The bus does not let this user in.
    #[error("failed to be let in by the system bus: {0}")]
    LetIn(String),
    /// It refused. At fault: an inhibitor, polkit, or there is no logind.
    #[error("{method} was refused: {words}")]
    Refused {
        /// Which method.
        method: &'static str,
        /// The error's words.
        words: String,
    },
    /// No whole answer came. Whether the call had an effect is not known.
    #[error("failed to get an answer to {method}")]
    Talk {
        /// Which method.
        method: &'static str,
        /// What happened.
        source: io::Error,
    },
}

/// A connection to the system bus, with a name on it.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
}

/// Who is called.
struct Callee {
    name: &'static str,
    path: &'static str,
    interface: &'static str,
}

const DAEMON: Callee = Callee {
    name: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

const LOGIND: Callee = Callee {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
};

impl Bus {
    /// Connects, says who it is, and gets a name.
    pub(super) fn connect(path: &Path) -> Result<Self, BusError> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
            stream.set_write_timeout(Some(ANSWERS_WITHIN))?;
            Ok(stream)
        };
        let stream =
            connect().map_err(|source| BusError::Connect { path: path.to_owned(), source })?;
        let mut bus = Self { stream, serial: 0 };
        let line =
            bus.authenticate().map_err(|source| BusError::Talk { method: "AUTH", source })?;
        if !line.starts_with("OK ") {
            return Err(BusError::LetIn(line));
        }
        bus.call(&DAEMON, "Hello", None)?;
        Ok(bus)
    }

    /// Whether logind would reboot for us: `yes`, `no`, `challenge` or `na`, see
    /// org.freedesktop.login1(5).
    pub(super) fn can_reboot(&mut self) -> Result<String, BusError> {
        self.call(&LOGIND, "CanReboot", None)
    }

    /// Has logind reboot, without asking a person for a password.
    pub(super) fn reboot(&mut self) -> Result<(), BusError> {
        self.call(&LOGIND, "Reboot", Some(false)).map(drop)
    }

    fn authenticate(&mut self) -> io::Result<String> {
        let uid = nix::unistd::geteuid().to_string();
        let hex: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        self.stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.extend(byte);
            if line.len() > MAX_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
            }
        }
        self.stream.write_all(b"BEGIN\r\n")?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Calls and returns the first string of the answer, empty if there is none.
    fn call(
        &mut self,
        callee: &Callee,
        method: &'static str,
        argument: Option<bool>,
    ) -> Result<String, BusError> {
        self.serial += 1;
        let call = message(self.serial, callee, method, argument);
        let mut exchange = || {
            self.stream.write_all(&call)?;
            for _ in 0..MAX_MESSAGES {
                let (kind, words) = receive(&mut self.stream)?;
                if kind == RETURN || kind == ERROR {
                    return Ok((kind, words));
                }
            }
            Err(io::Error::new(io::ErrorKind::InvalidData, "only other messages"))
        };
        let (kind, words) = exchange().map_err(|source| BusError::Talk { method, source })?;
        if kind == ERROR {
            return Err(BusError::Refused { method, words });
        }
        Ok(words)
    }
}

/// A method call, little-endian: fixed header, fields, body.
fn message(serial: u32, callee: &Callee, method: &str, argument: Option<bool>) -> Vec<u8> {
    let mut fields = Vec::new();
    for (code, kind, text) in [
        (1, b'o', callee.path),
        (2, b's', callee.interface),
        (3, b's', method),
        (6, b's', callee.name),
    ] {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        fields.extend(length_of(text.as_bytes()));
        fields.extend(text.bytes().chain([0]));
    }
    let mut body = Vec::new();
    if let Some(argument) = argument {
        pad(&mut fields, 8);
        // The signature of the body: one boolean.
        fields.extend([8, 1, b'g', 0, 1, b'b', 0]);
        body.extend(u32::from(argument).to_le_bytes());
    }
    let mut bytes = vec![b'l', CALL, 0, 1];
    bytes.extend(length_of(&body));
    bytes.extend(serial.to_le_bytes());
    bytes.extend(length_of(&fields));
    bytes.extend(fields);
    pad(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

/// All our parts are far below 4 GiB.
fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or_default().to_le_bytes()
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// The kind of the next message and the first string of its body.
fn receive(stream: &mut impl Read) -> io::Result<(u8, String)> {
    let mut header = [0; 16];
    stream.read_exact(&mut header)?;
    let [order, kind, _, _, b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = header;
    let number = |bytes: [u8; 4]| {
        let value =
            if order == b'B' { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        usize::try_from(value).unwrap_or(usize::MAX)
    };
    let (fields, body) = (number([f0, f1, f2, f3]), number([b0, b1, b2, b3]));
    if fields > MAX_MESSAGE || body > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
    }
    stream.read_exact(&mut vec![0; fields.next_multiple_of(8)])?;
    let mut bytes = vec![0; body];
    stream.read_exact(&mut bytes)?;
    let words = bytes.split_first_chunk().and_then(|(length, text)| {
        let text = text.get(..number(*length))?;
        // Shown to people and logged: nothing that moves a cursor.
        let text = String::from_utf8_lossy(text);
        Some(text.chars().filter(|it| !it.is_control()).take(MAX_LINE).collect())
    });
    Ok((kind, words.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_form_of_the_specification() {
        let bytes = message(2, &LOGIND, "Reboot", Some(false));
        assert_eq!(bytes[..4], [b'l', 1, 0, 1]);
        assert_eq!(bytes[4..8], [4, 0, 0, 0], "the body");
        assert_eq!(bytes[8..12], [2, 0, 0, 0], "the serial");
        let fields = usize::from(bytes[12]);
        assert_eq!(bytes.len(), (16 + fields).next_multiple_of(8) + 4);
        let path = [1, 1, b'o', 0, 23, 0, 0, 0];
        assert_eq!(bytes[16..24], path);
        assert_eq!(bytes[24..48], *b"/org/freedesktop/login1\0");
        assert_eq!(bytes[48..56], [2, 1, b's', 0, 30, 0, 0, 0]);
    }

    #[test]
    fn answers_are_read_in_both_byte_orders_and_bounded() {
        let little = b"l\x02\0\x01\x08\0\0\0\x01\0\0\0\x03\0\0\0abc\0\0\0\0\0\x03\0\0\0yes\0";
        assert_eq!(receive(&mut little.as_slice()).unwrap(), (2, "yes".to_owned()));
        let big = b"B\x03\0\x01\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0\x03n\no\0";
        assert_eq!(receive(&mut big.as_slice()).unwrap(), (3, "no".to_owned()));
        let long = b"l\x02\0\x01\xff\xff\xff\xff\x01\0\0\0\0\0\0\0";
        assert_eq!(receive(&mut long.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // A string that is said to be longer than the body.
        let cut = b"l\x02\0\x01\x05\0\0\0\x01\0\0\0\0\0\0\0\x09\0\0\0y";
        assert_eq!(receive(&mut cut.as_slice()).unwrap(), (2, String::new()));
        assert!(receive(&mut little[..20].as_ref()).is_err());
    }
}
