/* stepped FILE PROGRAM [ARGUMENT...]: becomes PROGRAM, for whose process the wall clock is ahead by as
 * many seconds as stand in FILE at the time it asks. All its other clocks are those of the kernel.
 *
 * Works for static programs too: a tracer takes the vDSO away, so that the clock is a system call,
 * and seccomp lets the tracer answer that call (ptrace(2), seccomp(2), vdso(7)). */
#define _GNU_SOURCE
#include <elf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the registers of a system call are those of x86-64"
#endif

static long ahead(const char *name) {
    char text[32];
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    text[length] = 0;
    return atol(text);
}

/* The stack of a program that begins: argc, argv, 0, envp, 0, pairs of the auxiliary vector. */
static void hide_vdso(pid_t thread) {
    struct user_regs_struct is;
    if (ptrace(PTRACE_GETREGS, thread, 0, &is)) err(1, "read the registers");
    unsigned long at = is.rsp + 8 * (1 + ptrace(PTRACE_PEEKDATA, thread, is.rsp, 0) + 1);
    while (ptrace(PTRACE_PEEKDATA, thread, at, 0)) at += 8;
    at += 8;
    for (long kind; (kind = ptrace(PTRACE_PEEKDATA, thread, at, 0)) != AT_NULL; at += 16) {
        if (kind == AT_SYSINFO_EHDR && ptrace(PTRACE_POKEDATA, thread, at, AT_IGNORE)) {
            err(1, "hide the vDSO");
        }
    }
}

/* Answers a question for the wall clock in the kernel's place. */
static void answer(pid_t thread, const char *file) {
    struct user_regs_struct is;
    struct timespec now;
    if (ptrace(PTRACE_GETREGS, thread, 0, &is)) return; /* It was killed. */
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += ahead(file);
    struct timeval coarse = {now.tv_sec, now.tv_nsec / 1000};
    struct iovec from = {&now, sizeof now}, to = {(void *)is.rsi, sizeof now};
    if (is.orig_rax != SYS_clock_gettime) {
        from = (struct iovec){&coarse, is.orig_rax == SYS_time ? sizeof coarse.tv_sec : sizeof coarse};
        to = (struct iovec){(void *)is.rdi, from.iov_len};
    }
    is.rax = is.orig_rax == SYS_time ? now.tv_sec : 0;
    if (to.iov_base && process_vm_writev(thread, &from, 1, &to, 1, 0) < 0) is.rax = -EFAULT;
    is.orig_rax = -1; /* The kernel does nothing. */
    ptrace(PTRACE_SETREGS, thread, 0, &is);
}

static void trace(const char *file) {
    int status;
    pid_t thread;
    while ((thread = waitpid(-1, &status, __WALL)) > 0) {
        if (!WIFSTOPPED(status)) continue;
        int deliver = 0, signal = WSTOPSIG(status);
        switch (status >> 16) {
        case PTRACE_EVENT_EXEC: hide_vdso(thread); break;
        case PTRACE_EVENT_SECCOMP: answer(thread, file); break;
        case PTRACE_EVENT_STOP:
            if (signal != SIGTRAP) { /* The whole group is stopped, until it is continued. */
                ptrace(PTRACE_LISTEN, thread, 0, 0);
                continue;
            }
            break;
        case 0: deliver = signal; break;
        }
        ptrace(PTRACE_CONT, thread, 0, deliver);
    }
}

static void ask_the_tracer(void) {
    enum { CALL = offsetof(struct seccomp_data, nr), CLOCK = offsetof(struct seccomp_data, args) };
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, CALL),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettimeofday, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_time, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, CLOCK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLOCK_REALTIME, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLOCK_REALTIME_COARSE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof rules / sizeof *rules, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) err(1, "give up new privileges");
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) err(1, "filter system calls");
}

int main(int count, char **words) {
    if (count < 3) errx(2, "usage: stepped FILE PROGRAM [ARGUMENT...]");
    int is_traced[2];
    char byte = 0;
    pid_t traced = getpid();
    if (pipe2(is_traced, O_CLOEXEC)) err(1, "make a pipe");
    pid_t tracer = fork();
    if (tracer < 0) err(1, "fork");
    if (tracer == 0) {
        long follow = PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE
            | PTRACE_O_EXITKILL;
        if (ptrace(PTRACE_SEIZE, traced, 0, follow)) err(1, "trace process %d", traced);
        if (write(is_traced[1], &byte, 1) != 1) err(1, "tell that it is traced");
        close(is_traced[1]);
        trace(words[1]);
        return 0;
    }
    close(is_traced[1]);
    if (read(is_traced[0], &byte, 1) != 1) errx(1, "nobody traces this process");
    ask_the_tracer();
    execvp(words[2], words + 2);
    err(1, "run %s", words[2]);
}
