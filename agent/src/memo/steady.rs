//! The part of an answer of the kernel that counts: without counters that move all the time.
//!
//! No fact rests on what is left out here; a reader that starts to use such a field must take its
//! file off this list.

use nix::libc;

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The lines of a file of `/proc` that do not count up. Other files count as a whole.
pub(super) fn part(path: &str, bytes: Vec<u8>) -> Vec<u8> {
    let lines = |keep: &dyn Fn(&[u8]) -> bool| {
        let kept: Vec<_> = bytes.split(|byte| *byte == b'\n').filter(|line| keep(line)).collect();
        kept.concat()
    };
    match path {
        // Only the moment of boot is a fact; the rest counts ticks.
        "/proc/stat" => lines(&|line| line.starts_with(b"btime ")),
        // Only what is installed is a fact, not what is free.
        "/proc/meminfo" => lines(&|line| line.starts_with(b"MemTotal:")),
        // Name and the marks at the end count; use counts and addresses move.
        "/proc/modules" => bytes
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.split(|byte| *byte == b' ').next())
            .flat_map(|name| [name, b"\n"])
            .collect::<Vec<_>>()
            .concat(),
        _ => bytes,
    }
}

/// Of each socket in an answer of sock_diag: family, state, addresses, owner and inode. Queues and
/// timers are left out.
pub(super) fn sockets(answer: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(answer.len());
    each(answer, |message| {
        for range in [0..2, 4..52, 64..72] {
            kept.extend_from_slice(message.get(range).unwrap_or_default());
        }
    });
    kept
}

/// The inode numbers of the sockets in an answer of sock_diag.
pub(super) fn inodes(answer: &[u8]) -> Vec<u64> {
    let mut inodes = Vec::new();
    each(answer, |message| {
        if let Some(inode) = message.get(68..72).and_then(|bytes| bytes.first_chunk::<4>()) {
            inodes.push(u64::from(u32::from_ne_bytes(*inode)));
        }
    });
    inodes
}

/// Hands every `struct inet_diag_msg` of an answer on.
fn each(mut answer: &[u8], mut take: impl FnMut(&[u8])) {
    while let Some((header, _)) = answer.split_first_chunk::<HEADER>() {
        let [l0, l1, l2, l3, k0, k1, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let kind = i32::from(u16::from_ne_bytes([k0, k1]));
        if kind != libc::NLMSG_DONE {
            take(answer.get(HEADER..length).unwrap_or_default());
        }
        answer = answer.get(length.next_multiple_of(4).max(HEADER)..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(rqueue: u32, inode: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(88_u32.to_ne_bytes());
        bytes.extend([20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([2; 56]);
        bytes.extend(rqueue.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(inode.to_ne_bytes());
        bytes
    }

    #[test]
    fn queues_do_not_count_and_inodes_do() {
        let two = |queue| [message(queue, 7), message(0, 9)].concat();
        assert_eq!(sockets(&two(0)), sockets(&two(3)));
        assert_ne!(sockets(&two(0)), sockets(&message(0, 7)));
        assert_ne!(sockets(&message(0, 7)), sockets(&message(0, 8)));
        assert_eq!(inodes(&two(0)), [7, 9]);
        for cut in 0..two(0).len() {
            sockets(two(0).get(..cut).unwrap());
        }
    }

    #[test]
    fn use_counts_of_modules_do_not_count() {
        let modules = |uses| format!("nf_tables {uses} 2 a,b, Live 0x0\nxfs 1 0 - Live 0x0\n");
        let part = |uses| part("/proc/modules", modules(uses).into_bytes());
        assert_eq!(part(1), part(2));
        assert_eq!(part(1), b"nf_tables\nxfs\n\n");
    }
}
