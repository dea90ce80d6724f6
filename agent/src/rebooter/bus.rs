//! A method call to logind over the system bus, written by hand: three messages of the D-Bus
//! specification 0.43 do not need a library in the process that holds the means to reboot.
//!
//! ```text
//! \0 AUTH EXTERNAL <uid> ─> OK ─> BEGIN ─> Hello ─> return ─> CanReboot | ListInhibitors | Reboot
//!     ─> return | error
//! ```
//!
//! Of what comes back only the kind and strings are read. One call is in flight at a time, so
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

/// Inhibitors that are told; a host has a handful.
const MAX_INHIBITORS: usize = 16;

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

    /// Who wants a shutdown delayed or blocked, each in words.
    pub(super) fn inhibitors(&mut self) -> Result<Vec<String>, BusError> {
        let body = self.exchange(&LOGIND, "ListInhibitors", None)?;
        Ok(inhibitors(&body))
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
        self.exchange(callee, method, argument).map(|body| body.first_string())
    }

    /// Calls and returns the body of the answer.
    fn exchange(
        &mut self,
        callee: &Callee,
        method: &'static str,
        argument: Option<bool>,
    ) -> Result<Body, BusError> {
        self.serial += 1;
        let call = message(self.serial, callee, method, argument);
        let mut exchange = || {
            self.stream.write_all(&call)?;
            for _ in 0..MAX_MESSAGES {
                let (kind, body) = receive(&mut self.stream)?;
                if kind == RETURN || kind == ERROR {
                    return Ok((kind, body));
                }
            }
            Err(io::Error::new(io::ErrorKind::InvalidData, "only other messages"))
        };
        let (kind, body) = exchange().map_err(|source| BusError::Talk { method, source })?;
        if kind == ERROR {
            return Err(BusError::Refused { method, words: body.first_string() });
        }
        Ok(body)
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

/// The body of a message.
#[derive(Debug, PartialEq, Eq)]
struct Body {
    is_big_endian: bool,
    bytes: Vec<u8>,
}

impl Body {
    fn number(&self, bytes: [u8; 4]) -> usize {
        let value =
            if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        usize::try_from(value).unwrap_or(usize::MAX)
    }

    /// The string that begins at `at`, and where it ends; `None` if there is none.
    fn string(&self, at: usize) -> Option<(String, usize)> {
        let at = at.next_multiple_of(4);
        let (length, rest) = self.bytes.get(at..)?.split_first_chunk()?;
        let length = self.number(*length);
        let text = String::from_utf8_lossy(rest.get(..length)?);
        // Shown to people and logged: nothing that moves a cursor.
        let text = text.chars().filter(|it| !it.is_control()).take(MAX_LINE).collect();
        // Behind the text is a zero.
        Some((text, at.checked_add(4)?.checked_add(length)?.checked_add(1)?))
    }

    fn first_string(&self) -> String {
        self.string(0).map_or_else(String::new, |(text, _)| text)
    }
}

/// Those of the answer to `ListInhibitors`, `a(ssssuu)`, that are about a shutdown: what, who, why,
/// mode, user, process. At most [`MAX_INHIBITORS`]; what is cut off is not told.
fn inhibitors(body: &Body) -> Vec<String> {
    let mut all = Vec::new();
    // The length of the array, and up to the first struct.
    let mut at = 8_usize;
    for _ in 0..MAX_INHIBITORS {
        let mut strings = Vec::new();
        let mut next = at.next_multiple_of(8);
        for _ in 0..4 {
            let Some((text, end)) = body.string(next) else { return all };
            strings.push(text);
            next = end;
        }
        at = next.next_multiple_of(4).saturating_add(8);
        if let [what, who, why, mode] = strings.as_slice()
            && what.split(':').any(|it| it == "shutdown")
        {
            all.push(format!("{who} {mode}s shutdown: {why}"));
        }
    }
    all
}

/// The kind of the next message and its body.
fn receive(stream: &mut impl Read) -> io::Result<(u8, Body)> {
    let mut header = [0; 16];
    stream.read_exact(&mut header)?;
    let [order, kind, _, _, b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = header;
    let mut body = Body { is_big_endian: order == b'B', bytes: Vec::new() };
    let (fields, length) = (body.number([f0, f1, f2, f3]), body.number([b0, b1, b2, b3]));
    if fields > MAX_MESSAGE || length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
    }
    stream.read_exact(&mut vec![0; fields.next_multiple_of(8)])?;
    body.bytes = vec![0; length];
    stream.read_exact(&mut body.bytes)?;
    Ok((kind, body))
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
    fn inhibitors_of_a_shutdown_are_told_and_nonsense_ends_the_list() {
        let mut body = Body { is_big_endian: false, bytes: vec![0; 8] };
        for inhibitor in [
            ["shutdown:sleep", "kubelet", "pods need time", "delay"],
            ["sleep", "NetworkManager", "off first", "delay"],
            ["shutdown", "root", "an upgrade runs", "block"],
        ] {
            pad(&mut body.bytes, 8);
            for text in inhibitor {
                pad(&mut body.bytes, 4);
                body.bytes.extend(length_of(text.as_bytes()));
                body.bytes.extend(text.bytes().chain([0]));
            }
            pad(&mut body.bytes, 4);
            body.bytes.extend([0; 8]);
        }
        let expected =
            ["kubelet delays shutdown: pods need time", "root blocks shutdown: an upgrade runs"];
        assert_eq!(inhibitors(&body), expected);
        body.bytes.extend([0xff; 40]);
        assert_eq!(inhibitors(&body), expected);
        body.bytes.truncate(80);
        assert_eq!(inhibitors(&body).len(), 1);
        for short in 0..8 {
            assert!(inhibitors(&Body { is_big_endian: true, bytes: vec![9; short] }).is_empty());
        }
    }

    #[test]
    fn answers_are_read_in_both_byte_orders_and_bounded() {
        let little = b"l\x02\0\x01\x08\0\0\0\x01\0\0\0\x03\0\0\0abc\0\0\0\0\0\x03\0\0\0yes\0";
        let received = |mut bytes: &[u8]| {
            let (kind, body) = receive(&mut bytes).unwrap();
            (kind, body.first_string())
        };
        assert_eq!(received(little), (2, "yes".to_owned()));
        let big = b"B\x03\0\x01\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0\x03n\no\0";
        assert_eq!(received(big), (3, "no".to_owned()));
        let long = b"l\x02\0\x01\xff\xff\xff\xff\x01\0\0\0\0\0\0\0";
        assert_eq!(receive(&mut long.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // A string that is said to be longer than the body.
        let cut = b"l\x02\0\x01\x05\0\0\0\x01\0\0\0\0\0\0\0\x09\0\0\0y";
        assert_eq!(received(cut), (2, String::new()));
        assert!(receive(&mut little[..20].as_ref()).is_err());
    }
}
