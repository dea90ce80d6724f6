//! The laws of leadership, over random schedules in virtual time.

use std::collections::BTreeMap;

use super::*;

const TIMING: Timing = Timing {
    lease: Duration::from_secs(15),
    renew_within: Duration::from_secs(10),
    retry: Duration::from_secs(2),
};

fn record(version: &str, holder: Option<&str>, transitions: u64) -> Record {
    let lasts_ms = Some(15_000);
    let holder = holder.map(str::to_owned);
    Record { version: version.to_owned(), holder, transitions, lasts_ms }
}

/// An election that has just begun its term 1, confirmed by a write sent at 0.
fn leading() -> Election {
    let mut election = Election::new("a".to_owned(), TIMING, 0);
    assert_eq!(election.step(Observation::Nothing, 0), Action::Read);
    let released = Record { lasts_ms: Some(0), ..record("1", None, 0) };
    let action = election.step(Observation::Found(released), 0);
    assert!(matches!(&action, Action::Replace(version, draft)
        if version == "1" && draft.transitions == 1 && draft.begins == Begins::Term));
    let action = election.step(Observation::Written(record("2", Some("a"), 1)), 40);
    assert_eq!(action, Action::WaitUntil(2_000));
    election
}

#[test]
fn a_term_counts_from_the_sending_of_its_last_confirmed_write() {
    let election = leading();
    let until_ms = 10_000;
    assert_eq!(election.standing(9_999), Standing::Leading { epoch: Epoch(1), until_ms });
    assert_eq!(election.standing(10_000), Standing::Suspended { epoch: Epoch(1) });
}

#[test]
fn a_leader_that_hears_nothing_is_suspended_and_then_stands_by() {
    let mut election = leading();
    let mut now = 2_000;
    assert!(matches!(election.step(Observation::Nothing, now), Action::Replace(_, _)));
    while now < 10_000 + MAX_SUSPENDED_MS {
        assert!(!matches!(election.standing(now), Standing::Standby { .. }), "{now}");
        now = match election.step(Observation::Failed, now) {
            Action::WaitUntil(at) => at,
            other @ (Action::Create(_) | Action::Read | Action::Replace(..)) => {
                panic!("a failure is not answered at once by {other:?}")
            }
        };
        let action = election.step(Observation::Nothing, now);
        assert!(matches!(action, Action::Read | Action::WaitUntil(_)), "{action:?}");
    }
    assert_eq!(election.standing(now), Standing::Standby { leader: None });
}

#[test]
fn a_suspended_leader_goes_on_with_its_term_if_nobody_took_it() {
    let mut election = leading();
    assert!(matches!(election.step(Observation::Nothing, 2_000), Action::Replace(_, _)));
    election.step(Observation::Failed, 6_000).is_wait();
    assert_eq!(election.step(Observation::Nothing, 30_000), Action::Read);
    let Action::Replace(version, draft) =
        election.step(Observation::Found(record("2", Some("a"), 1)), 30_100)
    else {
        panic!("it renews")
    };
    assert_eq!((version.as_str(), draft.transitions, draft.begins), ("2", 1, Begins::Nothing));
    assert_eq!(election.standing(30_100), Standing::Suspended { epoch: Epoch(1) });
    election.step(Observation::Written(record("3", Some("a"), 1)), 30_200).is_wait();
    let until_ms = 40_100;
    assert_eq!(election.standing(30_200), Standing::Leading { epoch: Epoch(1), until_ms });
}

#[test]
fn a_lease_in_another_name_ends_the_term_at_once() {
    let mut election = leading();
    assert!(matches!(election.step(Observation::Nothing, 2_000), Action::Replace(_, _)));
    assert_eq!(election.step(Observation::Conflict, 2_050), Action::Read);
    election.step(Observation::Found(record("7", Some("b"), 2)), 2_100).is_wait();
    assert_eq!(election.standing(2_100), Standing::Standby { leader: Some("b".to_owned()) });
}

#[test]
fn a_leader_that_stands_back_lets_the_lease_go_and_takes_it_only_if_nobody_else_does() {
    let mut election = leading();
    election.stand_back(3_000);
    assert_eq!(election.standing(3_000), Standing::Standby { leader: None });
    let Action::Replace(version, draft) = election.step(Observation::Nothing, 3_000) else {
        panic!("it lets go")
    };
    assert_eq!((version.as_str(), draft.holder, draft.transitions), ("2", None, 1));
    // Whether that was carried out is not known; it was not.
    let Action::WaitUntil(at) = election.step(Observation::Failed, 3_100) else {
        panic!("a pause")
    };
    assert_eq!(election.step(Observation::Nothing, at), Action::Read);
    let action = election.step(Observation::Found(record("2", Some("a"), 1)), at + 50);
    assert!(matches!(&action, Action::Replace(_, draft) if draft.holder.is_none()), "{action:?}");
    let free = || Record { lasts_ms: Some(1_000), ..record("3", None, 1) };
    let mut action = election.step(Observation::Written(free()), at + 100);
    assert_eq!(election.standing(at + 100), Standing::Standby { leader: None }, "no term began");
    let mut now = at + 100;
    while !matches!(action, Action::Replace(..)) {
        action = if let Action::WaitUntil(until) = action {
            now = until;
            election.step(Observation::Nothing, now)
        } else {
            assert_eq!(action, Action::Read);
            election.step(Observation::Found(free()), now)
        };
    }
    assert_eq!(now, 33_000, "two durations after it stood back");
    assert!(matches!(action, Action::Replace(_, draft) if draft.transitions == 2));
}

#[test]
fn conflict_after_conflict_is_met_with_a_pause() {
    let mut election = leading();
    assert!(matches!(election.step(Observation::Nothing, 2_000), Action::Replace(_, _)));
    assert_eq!(election.step(Observation::Conflict, 2_050), Action::Read);
    let mine = || Observation::Found(record("2", Some("a"), 1));
    assert!(matches!(election.step(mine(), 2_100), Action::Replace(_, _)));
    assert_eq!(election.step(Observation::Conflict, 2_150), Action::WaitUntil(4_150));
    assert_eq!(election.step(Observation::Nothing, 4_150), Action::Read);
    assert!(matches!(election.step(mine(), 4_200), Action::Replace(_, _)));
    election.step(Observation::Written(record("3", Some("a"), 1)), 4_250).is_wait();
    assert!(matches!(election.step(Observation::Nothing, 6_200), Action::Replace(_, _)));
    assert_eq!(election.step(Observation::Conflict, 6_250), Action::Read, "the first in a row");
}

#[test]
fn an_edited_lease_of_our_own_is_kept_and_a_higher_number_begins_a_new_term() {
    let mut election = leading();
    assert!(matches!(election.step(Observation::Nothing, 2_000), Action::Replace(_, _)));
    assert_eq!(election.step(Observation::Conflict, 2_050), Action::Read);
    let Action::Replace(version, draft) =
        election.step(Observation::Found(record("9", Some("a"), 40)), 2_100)
    else {
        panic!("it renews")
    };
    assert_eq!((version.as_str(), draft.transitions, draft.begins), ("9", 41, Begins::Term));
    election.step(Observation::Written(record("10", Some("a"), 41)), 2_150).is_wait();
    assert!(matches!(election.standing(2_150), Standing::Leading { epoch: Epoch(41), .. }));
}

#[test]
fn a_raised_floor_begins_a_term_above_it() {
    let mut election = leading();
    election.raise(7);
    let Action::Replace(_, draft) = election.step(Observation::Nothing, 2_000) else {
        panic!("it renews")
    };
    assert_eq!((draft.transitions, draft.begins), (8, Begins::Term));
}

#[test]
fn a_lost_answer_to_a_write_is_no_term() {
    let mut election = Election::new("a".to_owned(), TIMING, 0);
    assert_eq!(election.step(Observation::Nothing, 0), Action::Read);
    let released = Record { lasts_ms: Some(1_000), ..record("1", None, 5) };
    assert_eq!(election.step(Observation::Found(released), 0), Action::WaitUntil(1_000));
    assert!(matches!(election.step(Observation::Nothing, 1_000), Action::Replace(_, _)));
    election.step(Observation::Failed, 6_000).is_wait();
    assert_eq!(election.standing(6_000), Standing::Standby { leader: None });
    assert_eq!(election.step(Observation::Nothing, 8_000), Action::Read);
    // It was carried out; still nothing but an answered write makes a term, and that a new one.
    let Action::Replace(_, draft) =
        election.step(Observation::Found(record("2", Some("a"), 6)), 8_000)
    else {
        panic!("it writes again")
    };
    assert_eq!((draft.transitions, draft.begins), (7, Begins::Term));
}

#[test]
fn a_missing_lease_is_made_free_and_taken_when_a_leader_without_it_must_have_stopped() {
    let mut election = Election::new("a".to_owned(), TIMING, 0);
    assert_eq!(election.step(Observation::Nothing, 0), Action::Read);
    let Action::Create(draft) = election.step(Observation::Missing, 100) else {
        panic!("it makes one")
    };
    assert_eq!((draft.holder, draft.begins), (None, Begins::Nothing));
    let mut now = 200;
    let mut action = election.step(Observation::Written(record("1", None, 0)), now);
    loop {
        assert_eq!(election.standing(now), Standing::Standby { leader: None });
        let observation = match action {
            Action::Read => Observation::Found(record("1", None, 0)),
            Action::WaitUntil(at) => {
                now = at;
                Observation::Nothing
            }
            Action::Replace(..) => break,
            Action::Create(_) => panic!("twice"),
        };
        action = election.step(observation, now);
    }
    assert_eq!(now, 15_200);
}

#[test]
fn a_lease_that_was_taken_from_its_holder_by_hand_is_not_free_yet() {
    let mut election = Election::new("b".to_owned(), TIMING, 0);
    assert_eq!(election.step(Observation::Nothing, 0), Action::Read);
    election.step(Observation::Found(record("5", None, 1)), 0).is_wait();
    assert!(!matches!(election.step(Observation::Nothing, 14_999), Action::Replace(..)));
    assert!(matches!(election.step(Observation::Nothing, 15_000), Action::Replace(..)));
}

#[test]
fn a_lease_of_absurd_length_does_not_leave_the_fleet_without_a_leader() {
    let mut election = Election::new("a".to_owned(), TIMING, 0);
    assert_eq!(election.step(Observation::Nothing, 0), Action::Read);
    let absurd = Record { lasts_ms: Some(i64::MAX), ..record("1", Some("b"), 1) };
    election.step(Observation::Found(absurd), 0).is_wait();
    assert!(matches!(election.step(Observation::Nothing, 300_000), Action::Replace(_, _)));
}

#[test]
fn a_released_lease_names_nobody_and_says_so_shortly() {
    let mut election = leading();
    let Some(Action::Replace(version, draft)) = election.release() else { panic!("it was ours") };
    assert_eq!((version.as_str(), draft.holder, draft.lasts_ms), ("2", None, 1_000));
    assert!(matches!(election.standing(100), Standing::Standby { .. }));
}

impl Action {
    fn is_wait(&self) {
        assert!(matches!(self, Self::WaitUntil(_)), "{self:?}");
    }
}

/// SplitMix64: enough for schedules, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: i64) -> i64 {
        i64::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }
}

/// The API server, as far as one Lease goes, and the network before it.
#[derive(Default)]
struct Server {
    lease: Option<Record>,
    version: u64,
    calls: u64,
    /// Requests by when they arrive; their senders may have given up, or be no more.
    flying: BTreeMap<(i64, u64), Action>,
    answers: BTreeMap<u64, Observation>,
}

impl Server {
    fn deliver(&mut self, now: i64) {
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let ((_, call), action) = entry.remove_entry();
            let answer = self.carry_out(&action);
            self.answers.insert(call, answer);
        }
    }

    fn carry_out(&mut self, action: &Action) -> Observation {
        match action {
            Action::Read => match &self.lease {
                Some(record) => Observation::Found(record.clone()),
                None => Observation::Missing,
            },
            Action::Create(_) if self.lease.is_some() => Observation::Conflict,
            Action::Create(draft) => self.write(draft),
            Action::Replace(version, draft) => match &self.lease {
                Some(record) if record.version == *version => self.write(draft),
                Some(_) | None => Observation::Conflict,
            },
            Action::WaitUntil(_) => Observation::Nothing,
        }
    }

    fn write(&mut self, draft: &Draft) -> Observation {
        self.version += 1;
        let Draft { holder, transitions, lasts_ms, begins: _ } = draft.clone();
        let version = self.version.to_string();
        let record = Record { version, holder, transitions, lasts_ms: Some(lasts_ms) };
        self.lease = Some(record.clone());
        Observation::Written(record)
    }
}

/// A collector with a clock of its own: another origin, and a pace that is off by up to a tenth.
struct Peer {
    election: Election,
    origin_ms: i64,
    pace: i64,
    /// Stopped (SIGSTOP, a sleeping machine) until then; its clock goes on.
    stopped_until: i64,
    /// Cut off from the API server until then.
    cut_until: i64,
    doing: Doing,
}

enum Doing {
    Waiting {
        until: i64,
    },
    /// Until the answer is there, or given up.
    Calling {
        call: u64,
        until: i64,
    },
}

impl Peer {
    fn clock(&self, now: i64) -> i64 {
        self.origin_ms + now + now * self.pace / 1000
    }

    /// The true time at which its clock shows `ms`.
    fn true_time(&self, ms: i64) -> i64 {
        let mut at = (ms - self.origin_ms) * 1000 / (1000 + self.pace);
        while self.clock(at) < ms {
            at += 1;
        }
        at
    }
}

const PEERS: usize = 3;
const TICK_MS: i64 = 50;
const FAULTS_UNTIL_MS: i64 = 300_000;

/// Whether somebody deletes the Lease now and then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deleted {
    Never,
    Sometimes,
}

/// One schedule: stops, cuts, delays, lost answers, kills, and a Lease that is edited by hand.
fn run(seed: u64, deleted: Deleted) {
    let mut random = Random(seed);
    let mut server = Server::default();
    let timeout = ms(TIMING.call_timeout());
    let mut born = 0;
    let mut birth = |random: &mut Random, now: i64| {
        born += 1;
        let (origin_ms, pace) = (random.below(1_000_000_000), random.below(200) - 100);
        let mut peer = Peer {
            election: Election::new(format!("peer-{born}"), TIMING, 0),
            origin_ms,
            pace,
            stopped_until: 0,
            cut_until: 0,
            doing: Doing::Waiting { until: now },
        };
        peer.election = Election::new(format!("peer-{born}"), TIMING, peer.clock(now));
        peer
    };
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| birth(&mut random, 0)).collect();
    let mut owners: BTreeMap<Epoch, String> = BTreeMap::new();
    let mut led_last = None;
    let mut now = 0;
    while now < FAULTS_UNTIL_MS + 120_000 {
        now += TICK_MS;
        let faults = now < FAULTS_UNTIL_MS;
        if faults && random.below(400) == 0 {
            let victim = usize::try_from(random.below(i64::try_from(PEERS).unwrap())).unwrap();
            match random.below(if deleted == Deleted::Sometimes { 7 } else { 5 }) {
                0 => peers[victim].stopped_until = now + random.below(60_000),
                1 => peers[victim].cut_until = now + random.below(60_000),
                2 => peers[victim] = birth(&mut random, now),
                // A person labels the Lease: another version of the same.
                3 => {
                    server.version += 1;
                    if let Some(record) = &mut server.lease {
                        record.version = server.version.to_string();
                    }
                }
                4 => peers.iter_mut().for_each(|peer| peer.cut_until = now + 20_000),
                _ => server.lease = None,
            }
        }
        server.deliver(now);
        for peer in &mut peers {
            if peer.stopped_until > now {
                continue;
            }
            let observation = match peer.doing {
                Doing::Waiting { until } | Doing::Calling { until, .. } if until > now => continue,
                Doing::Waiting { .. } => Observation::Nothing,
                Doing::Calling { call, .. } => {
                    server.answers.remove(&call).unwrap_or(Observation::Failed)
                }
            };
            let clock = peer.clock(now);
            let action = peer.election.step(observation, clock);
            if let Action::WaitUntil(until) = action {
                peer.doing = Doing::Waiting { until: peer.true_time(until) };
                continue;
            }
            let slowness = if faults { 3_000 } else { 50 };
            // A request that its sender has given up may still arrive, and be carried out.
            let late = if faults && random.chance(3) { 30_000 } else { 0 };
            let arrives = now + random.below(slowness) + late;
            let answered = arrives + random.below(slowness);
            let given_up = peer.true_time(clock + timeout);
            let cut = peer.cut_until > now;
            let (request_lost, answer_lost) =
                (cut || (faults && random.chance(8)), faults && random.chance(8));
            server.calls += 1;
            let call = server.calls;
            if !request_lost {
                server.flying.insert((arrives, call), action);
            }
            let in_time = !request_lost && !answer_lost && answered < given_up;
            peer.doing = if in_time {
                Doing::Calling { call, until: answered }
            } else {
                // The answer, if there is one, is nobody's.
                Doing::Calling { call: 0, until: given_up }
            };
        }
        // Law: whoever may act is alone, stopped ones and late requests included.
        let leaders: Vec<(Epoch, &str)> = peers
            .iter()
            .filter_map(|peer| match peer.election.standing(peer.clock(now)) {
                Standing::Leading { epoch, .. } => Some((epoch, peer.election.me.as_str())),
                Standing::Standby { .. } | Standing::Suspended { .. } => None,
            })
            .collect();
        assert!(leaders.len() <= 1, "seed {seed}, {now} ms: {leaders:?}");
        if let Some((epoch, name)) = leaders.first() {
            led_last = Some(now);
            if deleted == Deleted::Sometimes {
                // Whoever makes the Lease anew may not have heard of every epoch; see `raise`.
                continue;
            }
            // Law: an epoch belongs to one process, and grows.
            let owner = owners.entry(*epoch).or_insert_with(|| (*name).to_owned());
            assert_eq!(owner, name, "seed {seed}, {now} ms: {epoch} has two owners");
            let newest = owners.last_key_value().unwrap().0;
            assert_eq!(newest, epoch, "seed {seed}, {now} ms: an older epoch leads again");
        }
    }
    // Law: without faults somebody leads.
    assert_eq!(led_last, Some(now), "seed {seed}: nobody leads at the end");
}

#[test]
fn never_two_leaders_and_never_an_old_epoch_whatever_happens() {
    for seed in 0..400 {
        run(seed, Deleted::Never);
    }
}

#[test]
fn never_two_leaders_although_the_lease_is_deleted() {
    for seed in 0..200 {
        run(seed, Deleted::Sometimes);
    }
}
