//! The parsing side: a host that asks another process.
//!
//! An answer that does not come in time, or not at all, makes what was asked unknown and costs no
//! more than its time: until the reader shows a sign of life again nothing further is asked.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::time::TimeVal;
use palisade_inspect::Host;
use palisade_inspect::Metadata;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_inspect::host::Entry;
use palisade_report::Moment;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_TEXT;
use palisade_report::section::boot::Confinement;
use palisade_report::section::boot::ConfinementMode;
use palisade_report::section::boot::ProcessRights;
use palisade_report::section::sockets::Protocol;

use super::answer;
use super::answer::Hello;
use super::answer::Value;
use super::plan::bound;
use super::plan::plan;
use super::serve::REFUSED;
use super::wire;
use super::wire::MAX_BATCH;
use super::wire::MAX_PACKET;
use super::wire::Malformed;
use super::wire::Question;
use super::wire::Questions;
use super::wire::Record;
use super::wire::kind;
use crate::memo::Ask;
use crate::subject;
use crate::subject::Area;
use crate::subject::Subject;

/// How long the first sign of life of a reader may take.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Time beyond that of an area in which the reader may say that it was used up.
const GRACE: Duration = Duration::from_secs(1);

/// Time for a question outside of an inspection.
const SINGLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Parameters that are handed over at the start.
const MAX_ONCE: usize = 1024;

/// No reader could be reached. At fault: the container's rights, or us.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It ended, or never came.
    #[error("failed to start the reading process: {0}")]
    Ended(String),
    /// It speaks another language.
    #[error("failed to understand the reading process")]
    Malformed(#[source] Malformed),
    /// The socket does not work.
    #[error("failed to hear from the reading process")]
    Socket(#[source] Errno),
}

/// What is reported of this process.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// Its rights.
    pub(crate) rights: ProcessRights,
    /// The version of Landlock that is enforced on it; 0 for none.
    pub(crate) landlock: u32,
    /// What is missing, and what that costs.
    pub(crate) shortfalls: Vec<String>,
}

/// A host that another process reads.
#[derive(Debug)]
pub(crate) struct Remote {
    socket: OwnedFd,
    own: Own,
    /// Parameters that only uid 0 may read, as they were when `read_at`.
    once: BTreeMap<String, (Metadata, Vec<u8>)>,
    read_at: Moment,
    state: RefCell<State>,
    deadline: Cell<Option<Instant>>,
    is_busy: Cell<bool>,
}

#[derive(Debug)]
struct State {
    hello: Hello,
    standing: Standing,
    number: u32,
    refused: u64,
    area: Area,
    /// What goes before the next question.
    before: Vec<Question>,
    buffer: Vec<u8>,
    /// Questions that are likely to follow, in their order, and the answers of those that were
    /// asked together with another one.
    plan: VecDeque<Ask>,
    ahead: BTreeMap<Ask, Answer>,
}

/// Content and end of an answer.
type Answer = (Vec<u8>, Result<Value, ReadError>);

/// Takes content, with the number of the question.
type Sink<'a> = dyn FnMut(usize, &[u8]) -> Result<(), Malformed> + 'a;

/// How the reader stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It is gone, or cannot be understood, and why.
    Down(String),
    /// It did not answer in time.
    Silent,
    /// It answers.
    Up,
}

/// Why an exchange came to nothing.
enum Broken {
    Down(String),
    Silent,
}

impl Broken {
    fn ended() -> Self {
        Self::Down("its keeper ended".to_owned())
    }
}

impl Remote {
    /// Waits until the reader at the other end of `socket` is there.
    ///
    /// # Errors
    /// [`ConnectError`] if none comes.
    pub(crate) fn connect(socket: OwnedFd, own: Own, now: Moment) -> Result<Self, ConnectError> {
        let timeout = TimeVal::new(i64::try_from(START_TIMEOUT.as_secs()).unwrap_or(10), 0);
        setsockopt(&socket, ReceiveTimeout, &timeout).map_err(ConnectError::Socket)?;
        setsockopt(&socket, SendTimeout, &timeout).map_err(ConnectError::Socket)?;
        let mut buffer = vec![0; MAX_PACKET];
        let mut once = BTreeMap::new();
        let hello = loop {
            let received = wire::receive(&socket, &mut buffer, MsgFlags::empty());
            let Some(packet) = received.map_err(ConnectError::Socket)? else {
                return Err(ConnectError::Ended("its keeper ended".to_owned()));
            };
            let (_, mut rest) = wire::split_number(packet).map_err(ConnectError::Malformed)?;
            let record = wire::next_record(&mut rest).map_err(ConnectError::Malformed)?;
            match record.kind {
                kind::ONCE if once.len() < MAX_ONCE => {
                    let (path, metadata, content) =
                        answer::read_once(record.bytes).map_err(ConnectError::Malformed)?;
                    once.insert(path, (metadata, content));
                }
                kind::HELLO => break read_hello(record).map_err(ConnectError::Malformed)?,
                kind::DOWN => return Err(ConnectError::Ended(words(record.bytes))),
                _ => return Err(ConnectError::Malformed(Malformed)),
            }
        };
        let state = State {
            hello,
            standing: Standing::Up,
            number: 0,
            refused: 0,
            area: Area::Processes,
            before: Vec::new(),
            buffer,
            plan: VecDeque::new(),
            ahead: BTreeMap::new(),
        };
        Ok(Self {
            socket,
            own,
            once,
            read_at: now,
            state: RefCell::new(state),
            deadline: Cell::new(None),
            is_busy: Cell::new(false),
        })
    }

    /// Questions that the reader refused so far.
    #[cfg(test)]
    pub(super) fn refused(&self) -> u64 {
        self.state.borrow().refused
    }

    /// Takes what came without being asked for, while the reader does not answer.
    fn listen(&self) {
        let mut buffer = std::mem::take(&mut self.state.borrow_mut().buffer);
        loop {
            match wire::receive(&self.socket, &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(Some(packet)) => {
                    if let Err(Broken::Down(why)) = self.take_control(packet) {
                        self.state.borrow_mut().standing = Standing::Down(why);
                    }
                }
                Ok(None) => {
                    let why = "its keeper ended".to_owned();
                    self.state.borrow_mut().standing = Standing::Down(why);
                    break;
                }
                Err(_) => break,
            }
        }
        self.state.borrow_mut().buffer = buffer;
    }

    /// What a packet says that is no answer to the running question. Any is a sign of life.
    fn take_control(&self, packet: &[u8]) -> Result<(), Broken> {
        let malformed = |_| Broken::Down("it sent what is no answer".to_owned());
        let (number, mut rest) = wire::split_number(packet).map_err(malformed)?;
        let mut state = self.state.borrow_mut();
        if number != 0 {
            // An answer that came too late.
            if state.standing == Standing::Silent {
                state.standing = Standing::Up;
            }
            return Ok(());
        }
        let record = wire::next_record(&mut rest).map_err(malformed)?;
        match record.kind {
            kind::HELLO => {
                state.hello = read_hello(record).map_err(malformed)?;
                state.standing = Standing::Up;
                Ok(())
            }
            kind::DOWN => Err(Broken::Down(words(record.bytes))),
            _ => Ok(()),
        }
    }

    /// Asks, hands content to `sink` and the end of each answer to `end`, with the number of the
    /// question among those that are answered.
    fn exchange(
        &self,
        path: &str,
        questions: &[Question],
        sink: &mut Sink<'_>,
        end: &mut dyn FnMut(usize, Result<Value, ReadError>),
    ) -> Result<(), ReadError> {
        if self.is_busy.replace(true) {
            let detail = "the reading process was asked while it was answering";
            return Err(ReadError::failed(path, WhyKind::Unsupported, detail));
        }
        let mut buffer = std::mem::take(&mut self.state.borrow_mut().buffer);
        buffer.resize(MAX_PACKET, 0);
        let outcome = self.exchange_through(&mut buffer, questions, sink, end);
        self.state.borrow_mut().buffer = buffer;
        self.is_busy.set(false);
        outcome.map_err(|broken| {
            let (standing, why) = match broken {
                Broken::Down(why) => (Standing::Down(why.clone()), why),
                Broken::Silent => (Standing::Silent, "it does not answer".to_owned()),
            };
            let mut state = self.state.borrow_mut();
            state.standing = standing;
            state.ahead.clear();
            state.plan.clear();
            ReadError::failed(path, WhyKind::Io, format!("the reading process failed: {why}"))
        })
    }

    fn exchange_through(
        &self,
        buffer: &mut [u8],
        questions: &[Question],
        sink: &mut Sink<'_>,
        end: &mut dyn FnMut(usize, Result<Value, ReadError>),
    ) -> Result<(), Broken> {
        let number = {
            let mut state = self.state.borrow_mut();
            match &state.standing {
                Standing::Up => {}
                Standing::Down(why) => return Err(Broken::Down(why.clone())),
                Standing::Silent => return Err(Broken::Silent),
            }
            state.number = state.number.wrapping_add(1).max(1);
            let mut packet = Questions::new(state.number);
            let before = std::mem::take(&mut state.before);
            before.iter().chain(questions).for_each(|question| packet.push(question));
            match wire::send(&self.socket, packet.bytes()) {
                Ok(()) => state.number,
                Err(Errno::EAGAIN) => return Err(Broken::Silent),
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(Broken::ended()),
                Err(errno) => return Err(Broken::Down(errno.desc().to_owned())),
            }
        };
        let malformed = |_| Broken::Down("it sent what is no answer".to_owned());
        let mut answered = 0;
        while answered < questions.len() {
            let packet = match wire::receive(&self.socket, buffer, MsgFlags::empty()) {
                Ok(Some(packet)) => packet,
                Ok(None) => return Err(Broken::ended()),
                Err(Errno::EAGAIN) => return Err(Broken::Silent),
                Err(errno) => return Err(Broken::Down(errno.desc().to_owned())),
            };
            let (of, mut rest) = wire::split_number(packet).map_err(malformed)?;
            if of != number {
                self.take_control(packet)?;
                continue;
            }
            while !rest.is_empty() {
                let record = wire::next_record(&mut rest).map_err(malformed)?;
                if record.kind == kind::DATA {
                    sink(answered, record.bytes).map_err(malformed)?;
                    continue;
                }
                let outcome = answer::read_end(record).map_err(malformed)?;
                let outcome = outcome.ok_or(Malformed).map_err(malformed)?;
                end(answered, outcome);
                answered += 1;
            }
        }
        Ok(())
    }

    /// The answer to one question about `path`, its content handed to `sink`.
    fn ask(&self, path: &str, ask: Ask, sink: &mut dyn FnMut(&[u8])) -> Result<Value, ReadError> {
        let limit = bound(&ask);
        self.fetch_ahead(path, &ask)?;
        let known = self.state.borrow_mut().ahead.remove(&ask);
        let outcome = match known {
            Some((content, outcome)) => {
                sink(&content);
                outcome
            }
            None => {
                let mut total = 0_usize;
                let mut outcome = None;
                self.exchange(
                    path,
                    &[Question::Ask(ask)],
                    &mut |_, piece| {
                        total = total.saturating_add(piece.len());
                        if total > limit {
                            return Err(Malformed);
                        }
                        sink(piece);
                        Ok(())
                    },
                    &mut |_, ended| outcome = Some(ended),
                )?;
                outcome.unwrap_or_else(|| Err(no_answer(path)))
            }
        };
        if let Err(ReadError::Failed { why, .. }) = &outcome
            && why.detail == REFUSED
        {
            let mut state = self.state.borrow_mut();
            state.refused = state.refused.saturating_add(1);
        }
        outcome
    }

    /// Where `ask` is one of those that were expected, asks it together with those that follow.
    fn fetch_ahead(&self, path: &str, ask: &Ask) -> Result<(), ReadError> {
        let batch: Vec<Ask> = {
            let mut state = self.state.borrow_mut();
            if state.ahead.contains_key(ask) {
                return Ok(());
            }
            let Some(at) = state.plan.iter().take(MAX_BATCH).position(|planned| planned == ask)
            else {
                return Ok(());
            };
            state.ahead.clear();
            state.plan.drain(..at);
            // Room for what goes before them.
            let count = state.plan.len().min(MAX_BATCH - 8);
            state.plan.drain(..count).collect()
        };
        let mut contents = vec![Vec::new(); batch.len()];
        let mut outcomes = Vec::with_capacity(batch.len());
        let questions: Vec<_> = batch.iter().cloned().map(Question::Ask).collect();
        self.exchange(
            path,
            &questions,
            &mut |at, piece| {
                let content = contents.get_mut(at).ok_or(Malformed)?;
                if content.len() + piece.len() > batch.get(at).map_or(0, bound) {
                    return Err(Malformed);
                }
                content.extend_from_slice(piece);
                Ok(())
            },
            &mut |_, outcome| outcomes.push(outcome),
        )?;
        let answers = contents.into_iter().zip(outcomes);
        self.state.borrow_mut().ahead = batch.into_iter().zip(answers).collect();
        Ok(())
    }

    fn metadata_of(&self, path: &str, ask: Ask) -> Result<Metadata, ReadError> {
        match self.ask(path, ask, &mut |_| {})? {
            Value::Metadata(metadata) => Ok(metadata),
            Value::Content | Value::Flag(_) | Value::Text(_) => Err(no_answer(path)),
        }
    }

    fn flag_of(&self, path: &str, ask: Ask) -> Result<bool, ReadError> {
        match self.ask(path, ask, &mut |_| {})? {
            Value::Flag(flag) => Ok(flag),
            Value::Content | Value::Metadata(_) | Value::Text(_) => Err(no_answer(path)),
        }
    }

    /// Time that is left for what is asked now.
    fn left(&self) -> Duration {
        self.deadline.get().map_or(SINGLE_TIMEOUT, |end| end.duration_since(Instant::now()))
    }

    fn in_time(&self, path: &str) -> Result<(), ReadError> {
        subject::in_time(self.deadline.get(), path)
    }
}

impl Subject for Remote {
    fn turn(&self) {
        if self.state.borrow().standing != Standing::Up {
            self.listen();
        }
        let turn = Question::Turn(self.left());
        let mut state = self.state.borrow_mut();
        state.before = vec![turn];
        state.ahead.clear();
        state.plan.clear();
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
        let patience = self.left() + GRACE;
        let patience = TimeVal::new(
            i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            i64::from(patience.subsec_micros()),
        );
        // A socket that takes no timeout would be none of ours.
        setsockopt(&self.socket, ReceiveTimeout, &patience).unwrap_or_default();
    }

    fn begin(&self, area: Area) {
        let begin = Question::Begin(area, self.left());
        let mut state = self.state.borrow_mut();
        // Of areas that asked nothing at all, the last is enough.
        state.before.retain(|question| matches!(question, Question::Turn(_)));
        state.before.push(begin);
        state.area = area;
        state.ahead.clear();
        state.plan.clear();
    }

    fn holds(&self, area: Area) -> bool {
        let mut holds = false;
        let asked = self.exchange(
            "",
            &[Question::Holds(area, self.left())],
            &mut |_, _| Err(Malformed),
            &mut |_, outcome| holds = outcome == Ok(Value::Flag(true)),
        );
        asked.is_ok() && holds
    }
}

impl Host for Remote {
    fn nature(&self) -> Nature {
        self.state.borrow().hello.nature()
    }

    fn read_with(
        &self,
        path: &str,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError> {
        self.in_time(path)?;
        if let Some((metadata, content)) = self.once.get(path).filter(|it| it.1.len() <= limit) {
            sink(content);
            return Ok(metadata.clone());
        }
        match self.ask(path, Ask::Read(path.to_owned(), limit), sink)? {
            Value::Metadata(metadata) => Ok(metadata),
            Value::Content | Value::Flag(_) | Value::Text(_) => Err(no_answer(path)),
        }
    }

    fn metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.in_time(path)?;
        self.metadata_of(path, Ask::Metadata(path.to_owned()))
    }

    fn link_metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.in_time(path)?;
        self.metadata_of(path, Ask::LinkMetadata(path.to_owned()))
    }

    fn read_link(&self, path: &str) -> Result<String, ReadError> {
        self.in_time(path)?;
        match self.ask(path, Ask::Link(path.to_owned()), &mut |_| {})? {
            Value::Text(text) => Ok(text),
            Value::Content | Value::Flag(_) | Value::Metadata(_) => Err(no_answer(path)),
        }
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.in_time(path)?;
        let mut bytes = Vec::new();
        let ask = Ask::List(path.to_owned(), limit);
        self.ask(path, ask, &mut |piece| bytes.extend_from_slice(piece))?;
        let entries = answer::read_entries(&bytes, limit).map_err(|_| no_answer(path))?;
        let mut state = self.state.borrow_mut();
        if let Some(plan) = plan(path, &entries, state.area) {
            state.plan = plan;
        }
        Ok(entries)
    }

    fn socket_diag(&self, protocol: Protocol) -> Result<Vec<u8>, ReadError> {
        let what = "sock_diag";
        self.in_time(what)?;
        let mut bytes = Vec::new();
        let ask = Ask::Sockets(protocol);
        self.ask(what, ask, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    fn write_locked(&self, path: &str) -> Result<bool, ReadError> {
        self.in_time(path)?;
        self.flag_of(path, Ask::Locked(path.to_owned()))
    }

    fn is_root_of(&self, pid: Option<u32>) -> Result<bool, ReadError> {
        self.in_time("/proc")?;
        self.flag_of("/proc", Ask::RootOf(pid))
    }

    fn confinement(&self) -> Option<Confinement> {
        let state = self.state.borrow();
        let Hello { is_live: true, resolver, rights } = &state.hello else { return None };
        let Own { rights: own, landlock, shortfalls } = &self.own;
        Some(Confinement {
            mode: ConfinementMode::Split,
            shortfalls: shortfalls.clone(),
            processes: [("parser", own), ("reader", rights)]
                .map(|(name, rights)| (name.to_owned(), rights.clone()))
                .into(),
            landlock: *landlock,
            resolver: resolver.clone(),
            refused: state.refused,
            read_once: self.once.keys().map(|path| (path.clone(), self.read_at)).collect(),
        })
    }
}

fn no_answer(path: &str) -> ReadError {
    ReadError::failed(path, WhyKind::Io, "the reading process gave another kind of answer")
}

fn read_hello(record: Record<'_>) -> Result<Hello, Malformed> {
    serde_json::from_slice(record.bytes).map_err(|_| Malformed)
}

fn words(bytes: &[u8]) -> String {
    palisade_report::bound::clean(bytes, MAX_TEXT)
}
