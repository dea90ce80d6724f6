//! Real executables, which the tests write.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;
use std::task::Context;
use std::task::Wake;
use std::task::Waker;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use palisade_plan::step;

use super::*;
use crate::reboots::errand;
use crate::testing::PATIENCE;
use crate::testing::Scratch;

const NOW: Moment = Moment::from_unix(1_800_000_000);

fn hook(scratch: &Scratch, name: &str, script: &str) -> PathBuf {
    let path = scratch.write(name, &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn request() -> Request {
    let wish = errand::asked(Some("a new disk".to_owned()), None, "anna", NOW);
    let mut request =
        step::requested("db-1".parse().unwrap(), "db-1".parse().unwrap(), wish, 1, NOW);
    request.id = "0a000000-0000-4000-8000-000000000001".to_owned();
    request
}

fn run(path: PathBuf, timeout: Duration) -> Word {
    run_for(&request(), &path, timeout)
}

fn run_for(request: &Request, path: &Path, timeout: Duration) -> Word {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let locks = path.with_extension("locks");
        let asked = Asked::of(path.to_owned(), &locks, request, Phase::Before, timeout);
        let word = asked.run(&AtomicBool::new(false));
        // Another test has forked while it was written, and not yet executed.
        let is_busy = matches!(&word, Word::NotYet(why) if why.ends_with("is being written"));
        if !is_busy {
            return word;
        }
        assert!(Instant::now() < deadline, "it is always being written");
    }
}

/// Looks until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[test]
fn the_exit_code_says_it_and_the_first_line_why() {
    let scratch = Scratch::new();
    let cases = [
        ("exit 0", Word::Done),
        ("echo two jobs run; echo more; exit 75", Word::NotYet("two jobs run".to_owned())),
        ("exit 75", Word::NotYet("it gives no reason".to_owned())),
        ("echo no such host; exit 3", Word::Failed("exit status: 3: no such host".to_owned())),
        ("kill -9 $$", Word::Failed("signal: 9 (SIGKILL)".to_owned())),
    ];
    for (number, (script, word)) in cases.into_iter().enumerate() {
        let path = hook(&scratch, &format!("hook-{number}"), script);
        assert_eq!(run(path, PATIENCE), word, "{script}");
    }
    let Word::Failed(why) = run(scratch.0.join("nothing"), PATIENCE) else { panic!("it ran") };
    assert!(why.contains("cannot be run"), "{why}");
}

#[test]
fn it_is_told_who_and_why_and_nothing_of_our_environment() {
    let scratch = Scratch::new();
    let kept = scratch.0.join("kept");
    let script = format!("{{ echo $*; pwd; env; cat; }} > {}", kept.display());
    assert_eq!(run(hook(&scratch, "hook", &script), PATIENCE), Word::Done);
    let kept = std::fs::read_to_string(kept).unwrap();
    let mut lines = kept.lines();
    assert_eq!(lines.next(), Some("before db-1 0a000000-0000-4000-8000-000000000001"));
    assert_eq!(lines.next(), Some("/"));
    assert!(kept.contains("LC_ALL=C") && !kept.contains("CARGO"), "{kept}");
    let input: serde_json::Value = serde_json::from_str(kept.lines().last().unwrap()).unwrap();
    assert_eq!((&input["node"], &input["phase"]), (&json!("db-1"), &json!("before")));
    assert_eq!(input["reasons"][0]["subject"], "a new disk");
}

#[test]
fn reasons_of_any_length_arrive_whole() {
    let scratch = Scratch::new();
    let kept = scratch.0.join("kept");
    let path = hook(&scratch, "hook", &format!("wc -c > {}", kept.display()));
    let mut request = request();
    let mut reason = request.wish.reasons.first().unwrap().clone();
    reason.target = "x".repeat(1_000_000);
    request.wish.reasons = [reason].into();
    assert_eq!(run_for(&request, &path, PATIENCE), Word::Done);
    let size = Asked::of(path, &scratch.0, &request, Phase::Before, PATIENCE).input.len();
    assert_eq!(std::fs::read_to_string(kept).unwrap().trim(), size.to_string());
}

#[test]
fn one_that_does_not_end_is_ended_with_all_that_it_started() {
    let scratch = Scratch::new();
    let script = format!("(sleep 600; echo late > {}/late) & wait", scratch.0.display());
    let Word::Failed(why) = run(hook(&scratch, "hook", &script), Duration::from_millis(200)) else {
        panic!("it ended")
    };
    assert!(why.starts_with("it did not end within"), "{why}");
    assert!(!scratch.0.join("late").exists());
}

#[test]
fn output_without_end_is_bounded_and_holds_nobody_up() {
    let scratch = Scratch::new();
    let script = "head -c 1000000 /dev/zero | tr '\\0' x; exit 4";
    let Word::Failed(why) = run(hook(&scratch, "hook", script), PATIENCE) else {
        panic!("it is well")
    };
    assert!(why.len() <= "exit status: 4: ".len() + MAX_LINE, "{}", why.len());
}

#[tokio::test]
async fn a_hook_is_asked_again_in_time_and_one_that_is_done_never() {
    let scratch = Scratch::new();
    let count = scratch.0.join("count");
    let script = format!("echo x >> {0}; test $(wc -l < {0}) -ge 2 || exit 75", count.display());
    let before = Some(hook(&scratch, "hook", &script));
    let ended = Arc::new(Notify::new());
    let hooks = Hooks { before, after: None, timeout: PATIENCE };
    let mut calls = Calls::new(hooks, scratch.0.join("locks"), Arc::clone(&ended));
    let request = request();
    calls.call(&request, Phase::Before, NOW);
    assert!(calls.is_running(&request.uid) && !calls.has(Phase::After));
    calls.call(&request, Phase::Before, NOW);
    let mut at = NOW;
    for word in [Word::NotYet("it gives no reason".to_owned()), Word::Done, Word::Done] {
        until("its end", || {
            calls.hear(at);
            !calls.is_running(&request.uid)
        })
        .await;
        assert_eq!(calls.last(&request, Phase::Before).map(|(_, word)| word), Some(&word));
        calls.call(&request, Phase::Before, at.plus(AGAIN_SECS - 1));
        assert!(!calls.is_running(&request.uid), "too early, or done");
        at = at.plus(AGAIN_SECS);
        calls.call(&request, Phase::Before, at);
    }
    assert_eq!(std::fs::read_to_string(count).unwrap().lines().count(), 2);
    assert_eq!(calls.last(&request, Phase::After), None);
    let other = Request { id: "another".to_owned(), ..request };
    assert_eq!(calls.last(&other, Phase::Before), None, "what was said is of one request");
}

#[tokio::test]
async fn nothing_is_called_for_a_node_while_something_else_runs_for_it() {
    let scratch = Scratch::new();
    let locks = scratch.0.join("locks");
    let uid = request().uid;
    let lock = NodeLock::take(&locks, &uid).unwrap().unwrap();
    let hooks = Hooks { before: None, after: None, timeout: PATIENCE };
    let calls = Calls::new(hooks, locks.clone(), Arc::new(Notify::new()));
    assert!(!calls.is_quiet(&uid).await.unwrap());
    let path = hook(&scratch, "hook", "exit 0");
    let asked = || Asked::of(path.clone(), &locks, &request(), Phase::After, PATIENCE);
    let word = asked().run(&AtomicBool::new(false));
    assert_eq!(word, Word::NotYet("what an earlier collector called runs".to_owned()));
    drop(lock);
    assert!(calls.is_quiet(&uid).await.unwrap());
    until("its turn", || asked().run(&AtomicBool::new(false)) == Word::Done).await;

    // What nobody can tell keeps it from being called, and is no failure of the hook.
    let nowhere = path.join("locks");
    let asked = Asked::of(path, &nowhere, &request(), Phase::After, PATIENCE);
    let Word::NotYet(why) = asked.run(&AtomicBool::new(false)) else { panic!("it was called") };
    assert!(why.starts_with("nobody can tell"), "{why}");
}

#[test]
fn what_cannot_be_told_to_a_hook_is_no_failure_of_it() {
    let scratch = Scratch::new();
    let path = hook(&scratch, "hook", "exit 0");
    // It can be locked, and nobody can set its length.
    mkfifo(&scratch.0.join(request().uid.as_str()), Mode::S_IRWXU).unwrap();
    let asked = Asked::of(path, &scratch.0, &request(), Phase::Before, PATIENCE);
    let Word::NotYet(why) = asked.run(&AtomicBool::new(false)) else { panic!("it has failed") };
    assert!(why.starts_with("it cannot be told what is asked"), "{why}");
}

#[tokio::test]
async fn however_many_nodes_are_being_emptied_one_is_given_back() {
    let scratch = Scratch::new();
    let [before, after] = ["before", "after"].map(|name| hook(&scratch, name, "sleep 600"));
    let hooks = Hooks { before: Some(before), after: Some(after), timeout: PATIENCE };
    let mut calls = Calls::new(hooks, scratch.0.join("locks"), Arc::new(Notify::new()));
    let node =
        |number: usize| Request { uid: format!("db-{number}").parse().unwrap(), ..request() };
    let called = |calls: &mut Calls, phase, from: usize| {
        let nodes = (from..from + 2 * MAX_CALLS).map(node);
        let mut count = 0;
        for node in nodes {
            calls.call(&node, phase, NOW);
            count += usize::from(calls.is_running(&node.uid));
        }
        count
    };
    assert_eq!(called(&mut calls, Phase::Before, 0), MAX_BEFORE);
    assert_eq!(called(&mut calls, Phase::After, 1_000), MAX_CALLS - MAX_BEFORE);
    calls.is_over.store(true, Ordering::SeqCst);
    until("their end", || {
        calls.hear(NOW);
        calls.calls.values().all(|call| call.running.is_none())
    })
    .await;
}

#[test]
fn whoever_is_woken_by_the_end_of_a_call_finds_its_word() {
    /// Looks for the word at the very moment of being woken.
    struct Woken {
        word: Mutex<oneshot::Receiver<Word>>,
        found: Mutex<Option<Word>>,
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            *self.found.lock().unwrap() = self.word.lock().unwrap().try_recv().ok();
        }
    }

    let (sender, receiver) = oneshot::channel();
    let woken = Arc::new(Woken { word: Mutex::new(receiver), found: Mutex::default() });
    let ended = Notify::new();
    let waker = Waker::from(Arc::clone(&woken));
    let mut waits = std::pin::pin!(ended.notified());
    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    tell(Word::Done, sender, &ended);
    assert_eq!(*woken.found.lock().unwrap(), Some(Word::Done));
}
