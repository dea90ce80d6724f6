//! QEMU's own control socket: JSON lines after a greeting (qemu-qmp-ref(7)). Used for what only the
//! outside of a machine can do: freeze it, write its memory to a file, forward a port.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

/// QEMU answers from its main loop, which emulation may starve for moments.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A connection to a running QEMU.
#[derive(Debug)]
pub(super) struct Monitor(BufReader<UnixStream>);

impl Monitor {
    /// Connects and leaves the greeting behind.
    ///
    /// # Errors
    /// When QEMU does not listen, or not yet.
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let mut monitor = Self(BufReader::new(stream));
        monitor.line()?;
        monitor.call("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// One command and its answer; events in between are dropped.
    ///
    /// # Errors
    /// When QEMU refuses it or goes away.
    pub(super) fn call(&mut self, execute: &str, arguments: &Value) -> io::Result<Value> {
        let request = json!({ "execute": execute, "arguments": arguments });
        self.0.get_ref().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut answer = self.line()?;
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(format!("{execute}: {error}")));
            }
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
        }
    }

    fn line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}
