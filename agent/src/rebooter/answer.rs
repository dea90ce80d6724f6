//! What the rebooter says, one packet each: of a grant, and of itself when it is asked.

use palisade_report::wire::RebooterState;

use super::Refusal;

/// Bytes of the longest answer; words are cut there.
pub(super) const MAX_ANSWER: usize = 512;

/// The packet that asks how things stand; shorter than any grant.
pub(super) const QUESTION: &[u8] = b"status";

/// The packet that says that `executing` was passed on, so that the node may go down.
pub(super) const TOLD: &[u8] = b"told";

/// The first line of the answer to [`QUESTION`].
const STATUS: &str = "status";

/// Between the parts of a refusal.
const BETWEEN: char = '\n';

/// What becomes of a grant. A refusal is the last word; after `Executing` only `Failed` may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It passed every check.
    Accepted,
    /// It is used now, and the node is about to be told to reboot.
    Executing,
    /// The node did not take the order. The grant stays used; there is no second try.
    Failed {
        /// Why, for people.
        words: String,
    },
    /// Nothing was done.
    Refused {
        /// Why, see [`Refusal::code`].
        code: String,
        /// Why, for people.
        words: String,
    },
}

impl From<&Refusal> for Answer {
    fn from(refusal: &Refusal) -> Self {
        Self::Refused { code: refusal.code().to_owned(), words: refusal.to_string() }
    }
}

impl Answer {
    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = match self {
            Self::Accepted => "accepted".to_owned(),
            Self::Executing => "executing".to_owned(),
            Self::Failed { words } => format!("failed{BETWEEN}{words}"),
            Self::Refused { code, words } => format!("refused{BETWEEN}{code}{BETWEEN}{words}"),
        }
        .into_bytes();
        bytes.truncate(MAX_ANSWER);
        bytes
    }

    /// The answer in a packet; `None` if it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (kind, rest) = text.split_once(BETWEEN).unwrap_or((&text, ""));
        match kind {
            "accepted" => Some(Self::Accepted),
            "executing" => Some(Self::Executing),
            "failed" => Some(Self::Failed { words: rest.to_owned() }),
            "refused" => {
                let (code, words) = rest.split_once(BETWEEN)?;
                Some(Self::Refused { code: code.to_owned(), words: words.to_owned() })
            }
            _ => None,
        }
    }
}

/// How things stand on a node, without a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether a grant could be carried out.
    pub state: RebooterState,
    /// What stands against it, and who delays a shutdown, for people.
    pub words: String,
}

impl Status {
    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { state, words } = self;
        let mut bytes = format!("{STATUS}{BETWEEN}{state}{BETWEEN}{words}").into_bytes();
        bytes.truncate(MAX_ANSWER);
        bytes
    }

    /// The status in a packet; `None` if it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let rest = text.strip_prefix(STATUS)?.strip_prefix(BETWEEN)?;
        let (state, words) = rest.split_once(BETWEEN)?;
        Some(Self { state: state.parse().ok()?, words: words.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use palisade_report::wire::CanReboot;
    use palisade_report::wire::HoldFile;

    use super::*;

    #[test]
    fn a_status_survives_its_packet_and_is_no_answer_to_a_grant() {
        let state = RebooterState { can: CanReboot::Logind, hold: HoldFile::Present };
        let status = Status { state, words: "kubelet\ndelays".to_owned() };
        assert_eq!(Status::decode(&status.encode()), Some(status.clone()));
        assert_eq!(Answer::decode(&status.encode()), None);
        let long = Status { words: "x".repeat(2 * MAX_ANSWER), ..status }.encode();
        assert_eq!(long.len(), MAX_ANSWER);
        assert!(Status::decode(&long).is_some());
        for none in ["", "status", "status\nsignal", "status\n\n", "accepted"] {
            assert_eq!(Status::decode(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn answers_survive_their_packets() {
        for answer in [
            Answer::Accepted,
            Answer::Executing,
            Answer::Failed { words: "no\nbus".to_owned() },
            Answer::from(&Refusal::Hold),
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
        let long = Answer::Failed { words: "x".repeat(2 * MAX_ANSWER) }.encode();
        assert_eq!(long.len(), MAX_ANSWER);
        for none in ["", "perhaps", "refused", "refused\nhold"] {
            assert_eq!(Answer::decode(none.as_bytes()), None, "{none}");
        }
    }
}
