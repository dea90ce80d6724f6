//! What the rebooter says about a grant, one packet each.

use super::Refusal;

/// Bytes of the longest answer; words are cut there.
pub(super) const MAX_ANSWER: usize = 512;

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

#[cfg(test)]
mod tests {
    use super::*;

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
