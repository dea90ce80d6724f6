//! The judge that the engine asks: a profile and waivers, as files say.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::SectionName;
use palisade_rules::Facts;
use palisade_rules::Judgement;
use palisade_rules::Profile;
use palisade_rules::Waivers;
use palisade_rules::judge_group;

use crate::engine::Judge;

/// Bytes that a profile or waiver file may have: the bound of the YAML reader.
const MAX_FILE: u64 = 1024 * 1024;

/// Judges by a profile and waivers.
#[derive(Debug)]
pub struct ProfileJudge {
    profile: Arc<Profile>,
    waivers: Waivers,
    basis: Digest,
}

/// Why rules or waivers cannot be used. At fault: configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadJudgeError {
    /// A file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The profile has no meaning.
    #[error("failed to load the profile in {path}")]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: palisade_rules::profile::LoadProfileError,
    },
    /// The waivers have no meaning.
    #[error("failed to load the waivers in {path}")]
    Waivers {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: palisade_rules::waiver::LoadWaiversError,
    },
}

impl ProfileJudge {
    /// The profile and waivers of these files; the built-in profile and no waivers without.
    ///
    /// # Errors
    /// [`LoadJudgeError`], naming the file.
    pub fn load(profile: Option<&Path>, waivers: Option<&Path>) -> Result<Self, LoadJudgeError> {
        let profile = match profile {
            None => Profile::built_in(),
            Some(path) => Profile::parse(&read(path)?)
                .map_err(|source| LoadJudgeError::Profile { path: path.to_owned(), source })?,
        };
        let text = waivers.map(read).transpose()?.unwrap_or_default();
        let waivers = match waivers {
            None => Waivers::default(),
            Some(path) => Waivers::parse(&text)
                .map_err(|source| LoadJudgeError::Waivers { path: path.to_owned(), source })?,
        };
        let basis = Digest::of(format!("{}\n{text}", profile.digest()).as_bytes());
        Ok(Self { profile: Arc::new(profile), waivers, basis })
    }

    /// The rules that it judges by.
    #[must_use]
    pub const fn rules(&self) -> &Arc<Profile> {
        &self.profile
    }
}

fn read(path: &Path) -> Result<String, LoadJudgeError> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|source| LoadJudgeError::Read { path: path.to_owned(), source })?;
    Ok(text)
}

impl Judge for ProfileJudge {
    fn profile(&self) -> Digest {
        self.profile.digest()
    }

    fn basis(&self) -> Digest {
        self.basis
    }

    fn groups(&self) -> Vec<Vec<SectionName>> {
        let sections = |group: &palisade_rules::Group| group.sections().iter().copied().collect();
        self.profile.groups().iter().map(sections).collect()
    }

    fn is_apart(&self, node: &NodeName) -> bool {
        self.waivers.name_node(node)
    }

    fn judge(
        &self,
        group: usize,
        facts: &Facts,
        node: Option<&NodeName>,
        now: Moment,
    ) -> Judgement {
        let Some(group) = self.profile.groups().get(group) else { return Judgement::default() };
        judge_group(facts, group, &self.waivers, node, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn waivers_are_part_of_the_basis_and_single_nodes_out() {
        let scratch = Scratch::new();
        let path = scratch.write(
            "waivers.yaml",
            "- { rule: 'sysctl.*', nodes: 'a-*', by: jane, reason: tests, until: 2090-01-01 }\n",
        );
        let without = ProfileJudge::load(None, None).unwrap();
        let with = ProfileJudge::load(None, Some(&path)).unwrap();
        assert_eq!(with.profile(), without.profile());
        assert_ne!(with.basis(), without.basis());
        assert!(with.is_apart(&"a-1".parse().unwrap()));
        assert!(!with.is_apart(&"b-1".parse().unwrap()));
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let scratch = Scratch::new();
        let path = scratch.write("bad.yaml", "moon: full\n");
        for (profile, waivers) in [(Some(&*path), None), (None, Some(&*path))] {
            let refused = ProfileJudge::load(profile, waivers).unwrap_err().to_string();
            assert!(refused.contains("bad.yaml"), "{refused}");
        }
    }
}
