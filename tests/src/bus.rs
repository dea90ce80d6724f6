//! A system bus with a logind that says what it is told to say and counts what it is asked for. It
//! reboots nothing.
//!
//! Does not model: D-Bus beyond the four calls that a rebooter makes, signals, several callers at once.

use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

/// What is done when the node is told to reboot, before the answer: whether the order is taken.
pub type OnReboot = Box<dyn FnMut() -> Taken + Send>;

/// What logind says to the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is taken.
    Yes,
    /// It is refused.
    No,
}

/// The bus; it ends with the process.
#[derive(Clone, Debug, Default)]
pub struct Bus {
    calls: Arc<Mutex<Vec<String>>>,
}

/// Methods that are known, and what logind returns: the body of the answer.
const METHODS: [(&str, &str); 4] =
    [("Hello", ":1.7"), ("CanReboot", "yes"), ("ListInhibitors", ""), ("Reboot", "")];

impl Bus {
    /// Listens at `path`.
    ///
    /// # Panics
    /// If that cannot be done.
    #[must_use]
    pub fn start(path: &Path, on_reboot: OnReboot) -> Self {
        let listener = UnixListener::bind(path).expect("listen as a bus");
        let bus = Self::default();
        let calls = Arc::clone(&bus.calls);
        let on_reboot = Arc::new(Mutex::new(on_reboot));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (calls, on_reboot) = (Arc::clone(&calls), Arc::clone(&on_reboot));
                std::thread::spawn(move || {
                    // Ends with its caller.
                    drop(talk(stream, &calls, &on_reboot));
                });
            }
        });
        bus
    }

    /// How often the node was told to reboot.
    ///
    /// # Panics
    /// If a thread of it did.
    #[must_use]
    pub fn reboots(&self) -> usize {
        self.calls.lock().expect("the calls").iter().filter(|it| *it == "Reboot").count()
    }
}

fn talk(
    mut stream: UnixStream,
    calls: &Mutex<Vec<String>>,
    on_reboot: &Mutex<OnReboot>,
) -> io::Result<()> {
    // A zero and the line of AUTH, then the line of BEGIN.
    line(&mut stream)?;
    stream.write_all(b"OK 1234\r\n")?;
    line(&mut stream)?;
    loop {
        let call = message(&mut stream)?;
        let known = METHODS.iter().find(|(name, _)| contains(&call, name.as_bytes()));
        let (name, answer) = known.expect("a method that is known");
        calls.lock().expect("the calls").push((*name).to_owned());
        let is_refused =
            *name == "Reboot" && (on_reboot.lock().expect("what to do"))() == Taken::No;
        stream.write_all(&match is_refused {
            true => reply(3, "the test says no"),
            false => reply(2, answer),
        })?;
    }
}

fn line(stream: &mut UnixStream) -> io::Result<()> {
    let mut last = [0; 2];
    while last != *b"\r\n" {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        last = [last[1], byte[0]];
    }
    Ok(())
}

/// The next message, header, fields and body.
fn message(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut header = [0; 16];
    stream.read_exact(&mut header)?;
    let number = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize
    };
    let mut rest = vec![0; number(12).next_multiple_of(8) + number(4)];
    stream.read_exact(&mut rest)?;
    Ok(rest)
}

/// An answer of that kind whose body is one string.
fn reply(kind: u8, words: &str) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).expect("a short answer").to_le_bytes();
    let body = [&length(words.len()), words.as_bytes(), &[0]].concat();
    let header = [&[b'l', kind, 0, 1][..], &length(body.len()), &length(1), &length(0)].concat();
    [header, body].concat()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
