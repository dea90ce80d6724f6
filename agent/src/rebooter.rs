//! The third process: the means to reboot this node, and nothing that could be talked into using it.
//!
//! It takes a grant (234 bytes of fixed layout) from a unix socket, checks it against its own boot,
//! keys, record, hold file and floor, writes down that it is used, says so, and acts once. Asked for its
//! status it tells whether it could act. It reads no file of the host but the hold file, has no token and no network, and does not judge whether a reboot is
//! wanted: whoever signed did.
//!
//! ```text
//! socket ─> bytes ─> check (pure) ─┬─> Refused: said and logged, nothing else happens
//!                                  └─> Order ─> record, synced ─> `executing`, passed on by the
//!                                      parser ─> means (logind, or a signal)
//! ```

mod answer;
mod bus;
mod check;
mod client;
mod keys;
mod means;
mod record;
mod serve;
mod status;

pub use answer::Answer;
pub use answer::Status;
pub use bus::BusError;
pub use check::Floor;
pub use check::Hold;
pub use check::Local;
pub use check::Order;
pub use check::Refusal;
pub use check::Refused;
pub use check::USED;
pub use check::check;
pub use client::HandOverError;
pub use client::hand_over;
pub use client::status;
pub use keys::Keys;
pub use keys::MalformedKeys;
pub use means::Means;
pub use means::MeansError;
pub use means::Mode;
pub use means::REBOOT_SIGNAL;
pub use record::Deed;
pub use record::Record;
pub use record::RecordError;
pub use serve::Rebooter;
pub use serve::Settings;
pub use serve::StartError;
