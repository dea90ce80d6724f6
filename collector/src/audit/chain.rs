//! The chain: each entry's hash covers the hash before it, so that an entry that was changed, put in
//! or taken out in the middle shows.
//!
//! ```text
//! hash(n) = SHA-256("palisade-audit-1" LF, hash(n-1) as 64 hexadecimal digits, LF, entry(n))
//! ```
//!
//! The entry is its canonical JSON text: keys in ascending order, no white space. The first entry
//! ever follows 64 zeros.
//!
//! ```text
//!      3     7 8    12 │ 13 14 15 16 17 …
//!   kept singly    anchor   the whole chain
//! ```
//!
//! When old entries are removed, id and hash of the last one stay as the anchor that the whole chain
//! begins behind. The newest of each kind are kept before it, too, each with the hash that it
//! follows: what it says holds, and what stood between them is gone. Entries cut off at the *end*, and
//! ones taken away before the anchor, show only to somebody who kept a hash elsewhere: export
//! `/v1/audit` if that matters.

use std::fmt;

use palisade_report::Digest;

use super::Entry;

/// What the first entry ever follows.
pub const ORIGIN: Link = Link { id: 0, hash: Digest::from_bytes([0; 32]) };

/// A place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The entry's id.
    pub id: i64,
    /// The entry's hash.
    pub hash: Digest,
}

/// Why an entry cannot be written. At fault: us; entries have a canonical form.
#[derive(Debug, thiserror::Error)]
#[error("failed to write an audit entry as canonical JSON")]
pub struct ChainError(#[source] palisade_report::canonical::CanonicalError);

/// Where a chain does not hold. At fault: whoever changed the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The text of an entry is not that of the id that it stands under, or no entry at all.
    #[error("the audit entry {id} is not what it says")]
    Entry {
        /// The id.
        id: i64,
    },
    /// Entries are missing before this one.
    #[error("the audit has a gap: after {after} comes {id}")]
    Gap {
        /// The last one before.
        after: i64,
        /// The first one behind.
        id: i64,
    },
    /// The neighbour of an entry that is kept singly is there, and has another hash than it follows.
    #[error("the audit entry {id} does not follow the one before")]
    Order {
        /// The id.
        id: i64,
    },
    /// The hash of an entry does not follow from it and the one before.
    #[error("the hash of the audit entry {id} does not follow from it and the one before")]
    Hash {
        /// The id.
        id: i64,
    },
}

/// The canonical text of an entry, which is what is kept and hashed.
///
/// # Errors
/// [`ChainError`].
pub fn text_of(entry: &Entry) -> Result<Vec<u8>, ChainError> {
    palisade_report::canonical::bytes(entry).map_err(ChainError)
}

/// The hash of an entry's text behind another entry.
#[must_use]
pub fn link(previous: &Digest, text: &[u8]) -> Digest {
    let mut covered = Vec::with_capacity(96 + text.len());
    covered.extend_from_slice(b"palisade-audit-1\n");
    covered.extend_from_slice(previous.to_string().as_bytes());
    covered.push(b'\n');
    covered.extend_from_slice(text);
    Digest::of(&covered)
}

/// Follows a chain entry by entry: those that are kept singly, and from the anchor on all.
#[derive(Clone, Copy, Debug)]
pub struct Follower {
    anchor: Link,
    last: Link,
}

/// What a check went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What the whole chain begins behind.
    pub anchor: Link,
    /// Its end; the anchor if there is none.
    pub last: Link,
    /// Entries before it that are kept singly.
    pub singly: u64,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { anchor, last, singly } = self;
        let Link { id, hash } = last;
        if last == anchor {
            write!(f, "the chain is empty behind entry {id}, whose hash is {hash}")?;
        } else {
            let first = anchor.id.saturating_add(1);
            write!(f, "entries {first} to {id} follow each other, the last hash is {hash}")?;
        }
        if *singly > 0 {
            write!(f, "; older ones that are kept singly: {singly}")?;
        }
        Ok(())
    }
}

impl Follower {
    /// Follows what comes behind `anchor`, and what is kept before it.
    #[must_use]
    pub const fn behind(anchor: Link) -> Self {
        Self { anchor, last: ORIGIN }
    }

    /// Takes the next row: the id and hash that it stands under, its text, and, where it is kept
    /// singly, the hash that it follows.
    ///
    /// # Errors
    /// [`Broken`]: the chain does not hold here.
    pub fn take(&mut self, at: Link, text: &[u8], follows: Option<Digest>) -> Result<(), Broken> {
        let Link { id, hash } = at;
        if id > self.anchor.id {
            if self.last.id < self.anchor.id {
                self.last = self.anchor;
            }
            return self.step(at, text);
        }
        let after = self.last.id;
        let Some(follows) = follows else { return Err(Broken::Gap { after, id }) };
        let is_neighbour = after.checked_add(1) == Some(id);
        if is_neighbour && follows != self.last.hash {
            return Err(Broken::Order { id });
        }
        if id == self.anchor.id && hash != self.anchor.hash {
            return Err(Broken::Hash { id });
        }
        self.last = Link { id: id.saturating_sub(1), hash: follows };
        self.step(at, text)
    }

    fn step(&mut self, at: Link, text: &[u8]) -> Result<(), Broken> {
        let Link { id, hash } = at;
        if self.last.id.checked_add(1) != Some(id) {
            return Err(Broken::Gap { after: self.last.id, id });
        }
        let entry: Option<Entry> = serde_json::from_slice(text).ok();
        if entry.is_none_or(|entry| entry.id != id) {
            return Err(Broken::Entry { id });
        }
        if link(&self.last.hash, text) != hash {
            return Err(Broken::Hash { id });
        }
        self.last = at;
        Ok(())
    }

    /// The end of the chain so far.
    #[must_use]
    pub const fn last(&self) -> Link {
        if self.last.id < self.anchor.id { self.anchor } else { self.last }
    }
}

#[cfg(test)]
mod tests {
    use palisade_report::Moment;

    use super::super::Happening;
    use super::super::Kind;
    use super::*;

    fn chain() -> Vec<(Link, Vec<u8>)> {
        let mut last = ORIGIN;
        (1..=4)
            .map(|id| {
                let happening = Happening::own(Kind::Leadership, "lease", format!("term {id}"));
                let text = text_of(&Entry::new(id, Moment::from_unix(id), happening)).unwrap();
                last = Link { id, hash: link(&last.hash, &text) };
                (last, text)
            })
            .collect()
    }

    fn follow(rows: &[(Link, Vec<u8>)], anchor: Link) -> Result<Link, Broken> {
        let mut follower = Follower::behind(anchor);
        for (at, text) in rows {
            follower.take(*at, text, None)?;
        }
        Ok(follower.last())
    }

    #[test]
    fn an_untouched_chain_holds_from_its_origin_and_from_an_anchor() {
        let rows = chain();
        assert_eq!(follow(&rows, ORIGIN), Ok(rows[3].0));
        assert_eq!(follow(&rows[2..], rows[1].0), Ok(rows[3].0));
    }

    #[test]
    fn whatever_is_changed_put_in_or_taken_out_shows() {
        let mut changed = chain();
        let text = String::from_utf8(changed[1].1.clone()).unwrap();
        changed[1].1 = text.replace("term 2", "term 9").into();
        assert_eq!(follow(&changed, ORIGIN), Err(Broken::Hash { id: 2 }));
        let mut rehashed = chain();
        rehashed[1].1 = changed[1].1.clone();
        rehashed[1].0.hash = link(&rehashed[0].0.hash, &rehashed[1].1);
        assert_eq!(follow(&rehashed, ORIGIN), Err(Broken::Hash { id: 3 }), "the next one tells");
        let mut cut = chain();
        cut.remove(1);
        assert_eq!(follow(&cut, ORIGIN), Err(Broken::Gap { after: 1, id: 3 }));
        let mut swapped = chain();
        let text = swapped[1].1.clone();
        swapped[2].1 = text;
        assert_eq!(follow(&swapped, ORIGIN), Err(Broken::Entry { id: 3 }));
        assert_eq!(follow(&chain()[1..], ORIGIN), Err(Broken::Gap { after: 0, id: 2 }));
        let forged = Link { id: 1, hash: Digest::of(b"") };
        assert_eq!(follow(&chain()[1..], forged), Err(Broken::Hash { id: 2 }));
    }

    #[test]
    fn the_text_is_canonical_so_that_others_can_check_the_chain() {
        let (_, text) = &chain()[0];
        let text = String::from_utf8(text.clone()).unwrap();
        assert_eq!(
            text,
            r#"{"actor":{"type":"collector"},"at":1,"decision":"done","id":1,"kind":"leadership","object":"lease","reason":"term 1","severity":"info"}"#
        );
    }
}
