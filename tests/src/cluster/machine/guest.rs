//! The way into a machine: the QEMU guest agent behind a virtio-serial port, JSON lines over a unix
//! socket (qemu-ga-ref(7)). It needs no network in the machine and comes back by itself after a
//! reboot. What runs in the machine, and whether that was right, is for the callers.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde_json::Value;
use serde_json::json;

/// A running agent answers within milliseconds; emulated on a busy machine, within seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long a new connection waits for the agent before the caller may look whether it has ended.
const SYNC_WITHIN: Duration = Duration::from_secs(5);

/// No command of a test ends so.
pub(super) const NEVER_ENDED: u8 = 199;

/// What marks the start of an answer in `guest-sync-delimited`; no JSON contains it.
const DELIMITER: u8 = 0xff;

/// How a command in the machine ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; 128 and more if a signal ended it, see sh(1).
    pub code: Option<i64>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: String,
}

/// A machine's agent.
#[derive(Debug)]
pub(super) struct Guest {
    socket: PathBuf,
    // One request at a time; without a connection where the last one failed.
    connection: Mutex<Option<BufReader<UnixStream>>>,
}

/// What can be sent to a machine any number of times: `command` is begun once in this boot, and each
/// run of this waits for its end and tells it. So an answer that is lost is asked for again. It must
/// not reboot the machine: the next boot has not begun it.
///
/// Exit code [`NEVER_ENDED`] if it was begun and ended by something else.
pub(super) fn once(command: &str) -> String {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Machines are frozen with what ran in them: the numbers of another process must differ.
    let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos();
    format!(
        "it=${{COMMANDS:-/run}}/command-{at}-{number}; exec 9> $it; flock 9
         if ! [ -e $it.ended ]; then
           if [ -e $it.begun ]; then echo 'begun, and ended by something else' >&2; exit {NEVER_ENDED}; fi
           : > $it.begun
           (\n{command}\n) > $it.out 2> $it.err 9>&-; echo $? > $it.ended
         fi
         cat $it.out; cat $it.err >&2; read code < $it.ended; exit $code"
    )
}

impl Guest {
    /// The agent behind `socket`; nothing is sent yet.
    pub(super) const fn new(socket: PathBuf) -> Self {
        Self { socket, connection: Mutex::new(None) }
    }

    /// Starts `/bin/sh -c command` and returns its number, with which [`Guest::ended`] asks.
    ///
    /// # Errors
    /// When the agent is not there, or cannot start it.
    pub(super) fn start(&self, command: &str) -> io::Result<i64> {
        let arguments =
            json!({ "path": "/bin/sh", "arg": ["-c", command], "capture-output": true });
        let started = self.call("guest-exec", &arguments)?;
        started["pid"].as_i64().ok_or_else(|| io::Error::other(format!("no pid in {started}")))
    }

    /// How command `number` ended; `None` while it runs.
    ///
    /// # Errors
    /// When the agent is not there, or another one since a reboot.
    pub(super) fn ended(&self, number: i64) -> io::Result<Option<Ended>> {
        let status = self.call("guest-exec-status", &json!({ "pid": number }))?;
        if status["exited"] != true {
            return Ok(None);
        }
        let output = |name: &str| decode(status[name].as_str().unwrap_or_default());
        let stderr = output("err-data")?;
        Ok(Some(Ended {
            code: status["exitcode"].as_i64(),
            stdout: output("out-data")?,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }))
    }

    /// One request and its answer.
    fn call(&self, execute: &str, arguments: &Value) -> io::Result<Value> {
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        connection.get_ref().set_read_timeout(Some(ANSWER_WITHIN))?;
        send(&connection, &json!({ "execute": execute, "arguments": arguments }))?;
        let mut answer = receive(&mut connection)?;
        // Kept only after a whole answer: what comes late must not answer another question.
        *kept = Some(connection);
        if let Some(error) = answer.get("error") {
            return Err(io::Error::other(format!("{execute}: {error}")));
        }
        Ok(answer["return"].take())
    }

    /// A connection on which the next line answers the next request, whatever was asked before.
    fn connect(&self) -> io::Result<BufReader<UnixStream>> {
        let deadline = Instant::now() + SYNC_WITHIN;
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(SYNC_WITHIN))?;
        let mut connection = BufReader::new(stream);
        static NEXT: AtomicI64 = AtomicI64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        connection.get_ref().write_all(&[DELIMITER])?;
        send(
            &connection,
            &json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } }),
        )?;
        while Instant::now() < deadline {
            connection.read_until(DELIMITER, &mut Vec::new())?;
            if receive(&mut connection)?["return"] == id {
                return Ok(connection);
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the agent only answers old questions"))
    }
}

fn send(connection: &BufReader<UnixStream>, request: &Value) -> io::Result<()> {
    connection.get_ref().write_all(format!("{request}\n").as_bytes())
}

fn receive(connection: &mut BufReader<UnixStream>) -> io::Result<Value> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_str(&line).map_err(io::Error::other)
}

/// Base64 with padding (RFC 4648, section 4).
fn decode(text: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut group = 0_u32;
    let mut bits = 0;
    for character in text.bytes().filter(|byte| *byte != b'=') {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(io::Error::other(format!("no base64: byte {character:#x}"))),
        };
        group = group << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.extend((group >> bits).to_be_bytes().last());
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::process::Stdio;

    use super::NEVER_ENDED;
    use super::decode;
    use super::once;
    use crate::directory::Directory;

    #[test]
    fn a_command_that_is_sent_again_is_carried_out_once_and_tells_its_end_to_each() {
        let place = Directory::new("once");
        let run = |command: &str| {
            let mut sh = Command::new("sh");
            sh.arg("-c").arg(command).env("COMMANDS", place.path()).current_dir(place.path());
            sh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            sh.spawn().expect("a shell")
        };
        let both = once("printf 'a\\0b'; echo oops >&2\necho once >> times; exit 7");
        for ended in [run(&both), run(&both)].map(|it| it.wait_with_output().expect("its end")) {
            assert_eq!(ended.status.code(), Some(7));
            assert_eq!((&ended.stdout[..], &ended.stderr[..]), (&b"a\0b"[..], &b"oops\n"[..]));
        }
        assert_eq!(fs::read(place.path().join("times")).expect("a file"), b"once\n");

        // Whoever carries it out is killed: nobody does it again, or waits for ever.
        let fatal = once("echo once >> fatal; kill -9 $$");
        assert_eq!(run(&fatal).wait_with_output().expect("its end").status.code(), None);
        let again = run(&fatal).wait_with_output().expect("its end");
        assert_eq!(again.status.code(), Some(i32::from(NEVER_ENDED)));
        assert_eq!(fs::read(place.path().join("fatal")).expect("a file"), b"once\n");
    }

    #[test]
    fn the_vectors_of_the_rfc_hold() {
        let vectors =
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")];
        for (text, bytes) in vectors {
            assert_eq!(decode(text).expect(text), bytes.as_bytes());
        }
    }

    #[test]
    fn all_bytes_survive() {
        let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v+/z9/v8=";
        let bytes: Vec<u8> = (0..0x30).chain(0xfb..=0xff).collect();
        assert_eq!(decode(text).expect("base64"), bytes);
    }
}
