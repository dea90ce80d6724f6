//! `explain`: one rule, what it found here, why it matters and what to do.

use std::path::PathBuf;

use clap::Args;
use palisade_rules::RuleId;
use palisade_rules::Verdict;
use palisade_rules::page::Colours;
use palisade_rules::page::Page;
use palisade_rules::page::Paint;
use palisade_rules::sheet::seen;

use super::Output;
use super::RootArgs;
use super::judged;
use super::judged::JudgeError;
use super::judged::Judged;
use crate::clock;

/// Column at which words begin.
const WORDS: usize = 14;

/// Explains one rule and what it finds on this host
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  palisade-agent explain sysctl.kptr-restrict
  palisade-agent explain --root /srv/captured/worker-7 kubelet.anonymous-auth")]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Profile to judge by; the built-in one if not given
    #[arg(long, value_name = "FILE", env = "PALISADE_PROFILE")]
    profile: Option<PathBuf>,
    /// Id of the rule, as `scan` and `rules` print it
    rule: RuleId,
}

/// The rule could not be explained.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExplainError {
    /// The host could not be judged.
    #[error("failed to judge the host")]
    Judge(#[source] JudgeError),
    /// The profile has no such rule. At fault: the argument.
    #[error("the profile has no rule {rule}; palisade-agent rules lists all")]
    NoRule { rule: RuleId },
}

pub(super) fn run(args: ExplainArgs) -> Result<Output, ExplainError> {
    let ExplainArgs { root, profile, rule: id } = args;
    let judged = judged::judge(&root.root, profile.as_deref(), None, clock::now());
    let Judged { report: _, profile, judgement } = judged.map_err(ExplainError::Judge)?;
    let Some(rule) = profile.rules().iter().find(|it| *it.id() == id) else {
        return Err(ExplainError::NoRule { rule: id });
    };
    let mut page = Page::new(Colours::None);
    page.line(0, "", Paint::Plain, 0, &format!("{id}: {}", rule.title()));
    page.gap();
    for finding in judgement.findings.iter().filter(|it| it.rule == id) {
        let verdict = match finding.verdict {
            Verdict::Unknown => "cannot tell",
            Verdict::Fail | Verdict::NotApplicable | Verdict::Pass | Verdict::Waived => {
                finding.verdict.as_str()
            }
        };
        page.line(2, verdict, Paint::Plain, WORDS, &seen(&finding.subject, &finding.evidence));
    }
    page.line(2, "severity", Paint::Plain, WORDS, rule.severity().as_str());
    page.line(2, "why", Paint::Plain, WORDS, rule.why());
    page.line(2, "fix", Paint::Plain, WORDS, rule.fix());
    for (label, words) in [("may break", rule.may_break()), ("not covered", rule.not_covered())] {
        if let Some(words) = words {
            page.line(2, label, Paint::Plain, WORDS, words);
        }
    }
    let reads: Vec<_> = rule.reads().iter().map(ToString::to_string).collect();
    if !reads.is_empty() {
        page.line(2, "reads", Paint::Plain, WORDS, &reads.join(" "));
    }
    page.line(2, "references", Paint::Plain, WORDS, &rule.references().join("; "));
    Ok(Output { text: page.into_text(), code: 0 })
}
