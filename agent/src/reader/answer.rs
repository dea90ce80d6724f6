//! Answers as bytes: metadata, entries, errors, and what a reader says of itself.

use palisade_inspect::FileKind;
use palisade_inspect::Metadata;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_inspect::host::Entry;
use palisade_inspect::host::EntryKind;
use palisade_report::Moment;
use palisade_report::Why;
use palisade_report::section::boot::ProcessRights;
use serde::Deserialize;
use serde::Serialize;

use super::wire::Cursor;
use super::wire::Malformed;
use super::wire::Record;
use super::wire::kind;

/// How an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The content is all.
    Content,
    /// Yes or no.
    Flag(bool),
    /// What is at a path.
    Metadata(Metadata),
    /// The text of a link.
    Text(String),
}

/// What a reader says of itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Whether the host is a running machine.
    pub(crate) is_live: bool,
    /// How it resolves paths: `openat2`, `walk`.
    pub(crate) resolver: String,
    /// What it may do.
    pub(crate) rights: ProcessRights,
}

impl Hello {
    pub(super) const fn nature(&self) -> Nature {
        if self.is_live { Nature::Live } else { Nature::Captured }
    }
}

/// An error in serialised form.
#[derive(Serialize, Deserialize)]
struct Failed {
    path: String,
    why: Why,
}

/// Kind and bytes of the record that ends an answer.
pub(super) fn write_end(outcome: Result<Value, ReadError>) -> (u8, Vec<u8>) {
    match outcome {
        Ok(Value::Content) => (kind::END, Vec::new()),
        Ok(Value::Flag(flag)) => (kind::FLAG, vec![u8::from(flag)]),
        Ok(Value::Metadata(metadata)) => (kind::METADATA, write_metadata(&metadata)),
        Ok(Value::Text(text)) => (kind::TEXT, text.into_bytes()),
        Err(ReadError::NotFound { path }) => (kind::MISSING, path.into_bytes()),
        Err(ReadError::Failed { path, why }) => {
            // Two texts and an enum have a JSON form.
            (kind::FAILED, serde_json::to_vec(&Failed { path, why }).unwrap_or_default())
        }
    }
}

/// Reads the record that ends an answer; `None` if it ends none.
///
/// # Errors
/// [`Malformed`] if it is of another shape than its kind.
pub(super) fn read_end(record: Record<'_>) -> Result<Option<Result<Value, ReadError>>, Malformed> {
    let mut cursor = Cursor { rest: record.bytes };
    let length = record.bytes.len();
    Ok(Some(match record.kind {
        kind::END => Ok(Value::Content),
        kind::FLAG => Ok(Value::Flag(cursor.u8()? == 1)),
        kind::METADATA => Ok(Value::Metadata(read_metadata(&mut cursor)?)),
        kind::TEXT => Ok(Value::Text(cursor.text(length)?)),
        kind::MISSING => Err(ReadError::NotFound { path: cursor.text(length)? }),
        kind::FAILED => {
            let Failed { path, why } =
                serde_json::from_slice(record.bytes).map_err(|_| Malformed)?;
            Err(ReadError::Failed { path, why })
        }
        _ => return Ok(None),
    }))
}

fn write_metadata(metadata: &Metadata) -> Vec<u8> {
    let Metadata { kind, mode, uid, gid, size, modified_at, resolved } = metadata;
    let kind = match kind {
        FileKind::Directory => 0,
        FileKind::Link => 1,
        FileKind::Regular => 2,
        FileKind::Special => 3,
    };
    let mut out = vec![kind];
    out.extend(mode.to_ne_bytes());
    out.extend(uid.to_ne_bytes());
    out.extend(gid.to_ne_bytes());
    out.extend(size.to_ne_bytes());
    out.extend(modified_at.unix().to_ne_bytes());
    out.extend_from_slice(resolved.as_bytes());
    out
}

fn read_metadata(cursor: &mut Cursor<'_>) -> Result<Metadata, Malformed> {
    let kind = match cursor.u8()? {
        0 => FileKind::Directory,
        1 => FileKind::Link,
        2 => FileKind::Regular,
        3 => FileKind::Special,
        _ => return Err(Malformed),
    };
    Ok(Metadata {
        kind,
        mode: cursor.u32()?,
        uid: cursor.u32()?,
        gid: cursor.u32()?,
        size: cursor.u64()?,
        modified_at: Moment::from_unix(cursor.i64()?),
        resolved: cursor.text(cursor.rest.len())?,
    })
}

/// Appends an entry of a directory.
pub(super) fn write_entry(out: &mut Vec<u8>, entry: &Entry) {
    let kind = match entry.kind {
        EntryKind::Directory => 0,
        EntryKind::Link => 1,
        EntryKind::Regular => 2,
        EntryKind::Special => 3,
    };
    out.push(kind);
    out.extend(u16::try_from(entry.name.len()).unwrap_or_default().to_ne_bytes());
    out.extend_from_slice(entry.name.as_bytes());
}

/// Reads entries, at most `limit`.
///
/// # Errors
/// [`Malformed`] for anything else.
pub(super) fn read_entries(bytes: &[u8], limit: usize) -> Result<Vec<Entry>, Malformed> {
    let mut cursor = Cursor { rest: bytes };
    let mut entries = Vec::new();
    while !cursor.rest.is_empty() {
        if entries.len() >= limit {
            return Err(Malformed);
        }
        let kind = match cursor.u8()? {
            0 => EntryKind::Directory,
            1 => EntryKind::Link,
            2 => EntryKind::Regular,
            3 => EntryKind::Special,
            _ => return Err(Malformed),
        };
        let length = usize::from(cursor.u16()?);
        entries.push(Entry { name: cursor.text(length)?, kind });
    }
    Ok(entries)
}

/// A parameter that was read at the start: path, metadata and content in one record.
pub(super) fn write_once(path: &str, metadata: &Metadata, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in [path.as_bytes(), &write_metadata(metadata)] {
        out.extend(u16::try_from(part.len()).unwrap_or_default().to_ne_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(content);
    out
}

/// Reads what [`write_once`] wrote.
///
/// # Errors
/// [`Malformed`] for anything else.
pub(super) fn read_once(bytes: &[u8]) -> Result<(String, Metadata, Vec<u8>), Malformed> {
    let mut cursor = Cursor { rest: bytes };
    let length = usize::from(cursor.u16()?);
    let path = cursor.text(length)?;
    let length = usize::from(cursor.u16()?);
    let metadata = read_metadata(&mut Cursor { rest: cursor.take(length)? })?;
    Ok((path, metadata, cursor.rest.to_vec()))
}
