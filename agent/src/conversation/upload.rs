//! Bringing wanted sections up, in as many bodies as it takes.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use hyper::Method;
use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Sealed;
use palisade_report::SectionName;
use palisade_report::wire::MAX_SECTION;
use palisade_report::wire::UploadReply;
use tracing::warn;

use super::Conversation;
use super::MAX_REFUSED;
use super::Setback;
use super::answered;
use crate::body;
use crate::reaction::Reaction;
use crate::send::Encoding;

/// Bodies that one conversation may take: every section alone, every split before that, and once
/// again in the other encoding.
const MAX_BODIES: usize = 64;

impl Conversation {
    /// Sends the sections that are wanted and may be sent.
    pub(super) async fn upload(
        &mut self,
        sealed: &Sealed,
        boot_id: &BootId,
        wanted: Vec<SectionName>,
    ) -> Result<(), Setback> {
        let wanted: BTreeSet<_> = wanted.into_iter().collect();
        let mut first = Vec::new();
        for name in wanted {
            let Some(entry) = sealed.manifest().get(name) else { continue };
            if entry.size as usize > MAX_SECTION {
                self.has_new_mark |= remember(&mut self.too_large, entry.digest);
            } else if !self.refused.contains(&entry.digest) {
                first.push(name);
            }
        }
        let mut batches = VecDeque::from([first]);
        for _ in 0..MAX_BODIES {
            let Some(batch) = batches.pop_front() else { return Ok(()) };
            if batch.is_empty() {
                continue;
            }
            let encoded = body::upload(sealed, boot_id, &batch, self.encoding);
            let encoded = encoded.map_err(Setback::Encode)?;
            if !encoded.fits {
                self.split(sealed, batch, &mut batches);
                continue;
            }
            let path = format!("/v1/nodes/{}/sections", self.node);
            let answer = self.ask(Method::PUT, &path, encoded.bytes, self.encoding).await?;
            match Reaction::to(answer.status) {
                Reaction::Continue => {
                    let reply = serde_json::from_slice(&answer.body).map_err(Setback::Reply)?;
                    self.heed(sealed, reply);
                }
                Reaction::Split => self.split(sealed, batch, &mut batches),
                Reaction::OtherEncoding if self.encoding == Encoding::Gzip => {
                    self.encoding = Encoding::Identity;
                    batches.push_front(batch);
                }
                Reaction::DropBody => self.drop_or_narrow(sealed, batch, &mut batches),
                Reaction::BackOff
                | Reaction::OlderCollector
                | Reaction::OtherEncoding
                | Reaction::Overtaken
                | Reaction::Reauthenticate
                | Reaction::Refused => return Err(answered(&answer)),
            }
        }
        Ok(())
    }

    /// Halves a batch; a single section that is still too large is marked as that.
    fn split(
        &mut self,
        sealed: &Sealed,
        mut batch: Vec<SectionName>,
        batches: &mut VecDeque<Vec<SectionName>>,
    ) {
        if let [only] = *batch {
            if let Some(entry) = sealed.manifest().get(only) {
                self.has_new_mark |= remember(&mut self.too_large, entry.digest);
                warn!(section = %only, bytes = entry.size, "the section is too large to be sent");
            }
            return;
        }
        let second = batch.split_off(batch.len() / 2);
        batches.push_front(second);
        batches.push_front(batch);
    }

    /// Finds the section for which a body was refused, and does not send it again.
    fn drop_or_narrow(
        &mut self,
        sealed: &Sealed,
        batch: Vec<SectionName>,
        batches: &mut VecDeque<Vec<SectionName>>,
    ) {
        if let [only] = *batch {
            if let Some(entry) = sealed.manifest().get(only) {
                remember(&mut self.refused, entry.digest);
                warn!(section = %only, "the collector refuses the section; it is left out");
            }
            return;
        }
        self.split(sealed, batch, batches);
    }

    /// Takes note of what was not stored.
    fn heed(&mut self, sealed: &Sealed, reply: UploadReply) {
        let UploadReply { stored: _, refused } = reply;
        for (name, problem) in refused {
            let Ok(name) = name.parse::<SectionName>() else { continue };
            let Some(entry) = sealed.manifest().get(name) else { continue };
            if !remember(&mut self.refused, entry.digest) {
                continue;
            }
            let message = palisade_report::bound::clean_text(&problem.message);
            warn!(section = %name, cause = message, "the collector refuses the section");
        }
    }
}

/// Adds a digest; at the bound the memory starts anew, which costs one more refusal each.
fn remember(memory: &mut BTreeSet<Digest>, digest: Digest) -> bool {
    if memory.len() >= MAX_REFUSED {
        memory.clear();
    }
    memory.insert(digest)
}
