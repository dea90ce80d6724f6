//! What each receiver is sent, word by word.

use super::*;

mod chat;
mod incident;
mod mail;
mod webhook;

/// One alert that fires.
const FIRING: &str =
    "[FIRING:1] warning: worker-7 should have rebooted by 2026-11-20: kernel 6.1.0-56 (prod)";
const FIRING_TEXT: &str = "\
warning, since 2026-11-20 02:10 UTC (for 3 d); cluster prod, pool web, node worker-7
Why: It runs a kernel with known holes.
Do: Open a window for the pool web, or approve the reboot.
More: https://palisade.example/v1/nodes/worker-7/explain";

/// The same, over.
const RESOLVED: &str =
    "[RESOLVED] worker-7 should have rebooted by 2026-11-20: kernel 6.1.0-56 (prod)";
const RESOLVED_TEXT: &str = "\
warning, 2026-11-20 02:10 UTC to 2026-11-23 02:10 UTC (3 d); cluster prod, pool web, node worker-7
Ended: rebooted into kernel 6.1.0-56
More: https://palisade.example/v1/nodes/worker-7/explain";

/// 5,000.
const MANY: &str = "[FIRING:5,000] warning: RebootOverdue on 5,000 nodes of prod, pool web";
const MANY_HEAD: &str = "5,000 alerts fire on 5,000 nodes";
const MANY_TEXT: &str = "\
loudest warning, oldest since 2026-11-20 02:10 UTC (for 3 d); cluster prod, pool web
Firing: worker-1, worker-2, worker-3, worker-4, worker-5, worker-6, worker-7, worker-8, worker-9, worker-10
For example: worker-1 should have rebooted by 2026-11-20: kernel 6.1.0-56
Why: It runs a kernel with known holes.
Do: Open a window for the pool web, or approve the reboot.";
const MANY_REST: &str = "and 4,990 more: https://palisade.example/v1/alerts?alert=RebootOverdue";

const EXPLAIN: &str = "https://palisade.example/v1/nodes/worker-7/explain";
const LIST: &str = "https://palisade.example/v1/alerts?alert=RebootOverdue";

fn firing() -> Notice {
    notice(vec![alert(7)], 0)
}

fn resolved() -> Notice {
    notice(vec![ended(7)], 0)
}

/// Title and text of all three, where nothing is escaped and nothing bold.
fn plain() -> [(Notice, String); 3] {
    [
        (firing(), format!("{FIRING}\n\n{FIRING_TEXT}")),
        (resolved(), format!("{RESOLVED}\n\n{RESOLVED_TEXT}")),
        (many(), format!("{MANY}\n\n{MANY_HEAD}\n{MANY_TEXT}\n\n{MANY_REST}")),
    ]
}
