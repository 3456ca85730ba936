/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a confined server can still do, and what its rings can: a child confines itself, tries, and
 * tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/eventfd.h"
#include "base/fd.h"
#include "block/rings.h"
#include "serve/confine.h"

#define NR_RINGS 8u
#define LATER    0x100000000L /* what the kernel cuts off of an int */

struct result {
	long ret;
	int error;
};

/* Run @fn in a child; what it writes to its pipe is in @out.  Its wait status. */
static int in_child(void (*fn)(int out), void *out, size_t size)
{
	int ends[2], status;
	size_t got = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(ends[0]);
		fn(ends[1]);
		_exit(0);
	}
	close(ends[1]);
	memset(out, 0, size);
	while (got < size && (n = read(ends[0], (char *)out + got, size - got)) > 0)
		got += (size_t)n;
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!status)
		assert_int_equal(got, size);
	return status;
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(1);
}

static void tell(int out, const void *data, size_t size)
{
	must(write(out, data, size) == (ssize_t)size, "telling");
}

static bool have_rings(void)
{
	struct uvfio_error err = {""};
	struct block_rings *rings = block_rings_new(1, &err);

	if (!rings)
		print_message("no io_uring: %s\n", err.msg);
	block_rings_free(rings);
	return rings;
}

static struct block_rings *confine(void)
{
	struct uvfio_error err = {""};
	struct block_rings *rings = block_rings_new(NR_RINGS, &err);
	bool landlock;

	if (serve_confine(NULL, rings, &landlock, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		_exit(1);
	}
	return rings;
}

/* ---- system calls ---- */

/* Where arguments are what the child has: a socket, a regular file, a ring's descriptor, a ring
 * that is not one of them, itself, its parent; memory of zeroes. */
enum { SOCK = -1001, FILE_FD, RING, FOREIGN, SELF, PARENT, ZEROES, PATH };

struct row {
	const char *name;
	long nr;
	long args[6];
	int error; /* 0: it succeeds */
};

#define PAST(arg) ((arg) | LATER)

static const struct row rows[] = {
	{"getpid", SYS_getpid, {0}, 0},
	/* files */
	{"openat", SYS_openat, {AT_FDCWD, PATH, O_RDONLY}, EPERM},
	{"open", SYS_open, {PATH, O_RDONLY}, EPERM},
	{"openat2", SYS_openat2, {AT_FDCWD, PATH, ZEROES, 24}, EPERM},
	{"creat", SYS_creat, {PATH, 0600}, EPERM},
	{"stat", SYS_stat, {PATH, ZEROES}, EPERM},
	{"lstat", SYS_lstat, {PATH, ZEROES}, EPERM},
	{"newfstatat", SYS_newfstatat, {AT_FDCWD, PATH, ZEROES, 0}, EPERM},
	{"statx", SYS_statx, {AT_FDCWD, PATH, 0, STATX_SIZE, ZEROES}, EPERM},
	{"access", SYS_access, {PATH, F_OK}, EPERM},
	{"faccessat2", SYS_faccessat2, {AT_FDCWD, PATH, F_OK, 0}, EPERM},
	{"readlink", SYS_readlink, {PATH, ZEROES, 16}, EPERM},
	{"readlinkat", SYS_readlinkat, {AT_FDCWD, PATH, ZEROES, 16}, EPERM},
	{"unlink", SYS_unlink, {PATH}, EPERM},
	{"rename", SYS_rename, {PATH, PATH}, EPERM},
	{"chmod", SYS_chmod, {PATH, 0600}, EPERM},
	{"fchmod", SYS_fchmod, {FILE_FD, 0600}, EPERM},
	{"fchown", SYS_fchown, {FILE_FD, 0, 0}, EPERM},
	{"chdir", SYS_chdir, {PATH}, EPERM},
	{"statfs", SYS_statfs, {PATH, ZEROES}, EPERM},
	{"getxattr", SYS_getxattr, {PATH, PATH, ZEROES, 16}, EPERM},
	{"inotify_init1", SYS_inotify_init1, {0}, EPERM},
	{"name_to_handle_at", SYS_name_to_handle_at, {AT_FDCWD, PATH, ZEROES, ZEROES, 0}, EPERM},
	{"fstat", SYS_fstat, {FILE_FD, ZEROES}, 0},
	{"fstatfs", SYS_fstatfs, {FILE_FD, ZEROES}, 0},
	{"dup", SYS_dup, {FILE_FD}, EPERM},
	{"dup2", SYS_dup2, {FILE_FD, 100}, EPERM},
	{"dup3", SYS_dup3, {FILE_FD, 100, 0}, EPERM},
	{"close_range", SYS_close_range, {1000, 2000, 0}, EPERM},
	{"lseek", SYS_lseek, {FILE_FD, 0, SEEK_SET}, EPERM},
	{"sendfile", SYS_sendfile, {FILE_FD, FILE_FD, 0, 1}, EPERM},
	{"splice", SYS_splice, {FILE_FD, 0, FILE_FD, 0, 1, 0}, EPERM},
	{"copy_file_range", SYS_copy_file_range, {FILE_FD, 0, FILE_FD, 0, 1, 0}, EPERM},
	{"flock", SYS_flock, {FILE_FD, 2}, EPERM},
	{"fcntl F_GETFL", SYS_fcntl, {FILE_FD, F_GETFL}, 0},
	{"fcntl F_SETFL", SYS_fcntl, {FILE_FD, F_SETFL, O_NONBLOCK}, 0},
	{"fcntl F_SETFL O_ASYNC", SYS_fcntl, {SOCK, F_SETFL, O_ASYNC}, EPERM},
	{"fcntl F_SETOWN", SYS_fcntl, {SOCK, F_SETOWN, PARENT}, EPERM},
	{"fcntl F_SETOWN_EX", SYS_fcntl, {SOCK, F_SETOWN_EX, ZEROES}, EPERM},
	{"fcntl F_SETSIG", SYS_fcntl, {SOCK, F_SETSIG, SIGTERM}, EPERM},
	{"fcntl F_GETOWN", SYS_fcntl, {SOCK, F_GETOWN}, EPERM},
	{"fcntl F_SETLEASE", SYS_fcntl, {FILE_FD, F_SETLEASE, F_RDLCK}, EPERM},
	{"fcntl F_NOTIFY", SYS_fcntl, {FILE_FD, F_NOTIFY, 1}, EPERM},
	{"fcntl F_DUPFD", SYS_fcntl, {FILE_FD, F_DUPFD, 3}, EPERM},
	{"fcntl F_SETPIPE_SZ", SYS_fcntl, {SOCK, F_SETPIPE_SZ, 1 << 20}, EPERM},
	{"fcntl F_SETLK", SYS_fcntl, {FILE_FD, F_SETLK, ZEROES}, EPERM},
	{"ioctl FIOASYNC", SYS_ioctl, {SOCK, FIOASYNC, ZEROES}, EPERM},
	{"ioctl FIOSETOWN", SYS_ioctl, {SOCK, 0x8901, ZEROES}, EPERM},
	{"ioctl TIOCSTI", SYS_ioctl, {0, 0x5412, ZEROES}, EPERM},
	{"ioctl FS_IOC_SETFLAGS", SYS_ioctl, {FILE_FD, FS_IOC_SETFLAGS, ZEROES}, EPERM},
	{"ioctl FICLONE", SYS_ioctl, {FILE_FD, FICLONE, FILE_FD}, EPERM},
	{"ioctl BLKGETSIZE64", SYS_ioctl, {FILE_FD, BLKGETSIZE64, ZEROES}, ENOTTY},
	/* sockets */
	{"socket AF_UNIX", SYS_socket, {AF_UNIX, SOCK_STREAM, 0}, EPERM},
	{"socket AF_INET", SYS_socket, {AF_INET, SOCK_STREAM, 0}, EPERM},
	{"socket AF_NETLINK", SYS_socket, {AF_NETLINK, SOCK_RAW, 0}, EPERM},
	{"connect", SYS_connect, {SOCK, ZEROES, 16}, EPERM},
	{"bind", SYS_bind, {SOCK, ZEROES, 16}, EPERM},
	{"listen", SYS_listen, {SOCK, 1}, EPERM},
	{"setsockopt", SYS_setsockopt, {SOCK, SOL_SOCKET, SO_SNDBUF, ZEROES, 4}, EPERM},
	{"getsockopt of a protocol", SYS_getsockopt, {SOCK, 6, 1, ZEROES, ZEROES}, EPERM},
	{"getpeername", SYS_getpeername, {SOCK, ZEROES, ZEROES}, EPERM},
	{"sendto an address", SYS_sendto, {SOCK, ZEROES, 1, MSG_NOSIGNAL, ZEROES, 16}, EPERM},
	{"sendto", SYS_sendto, {SOCK, ZEROES, 1, MSG_NOSIGNAL, 0, 0}, 0},
	{"socketpair of datagrams", SYS_socketpair, {AF_UNIX, SOCK_DGRAM, 0, ZEROES}, EPERM},
	{"socketpair of AF_TIPC", SYS_socketpair, {30, SOCK_STREAM, 0, ZEROES}, EPERM},
	{"socketpair", SYS_socketpair, {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ZEROES}, 0},
	/* processes */
	{"fork", SYS_fork, {0}, EPERM},
	{"vfork", SYS_vfork, {0}, EPERM},
	{"clone of a process", SYS_clone, {SIGCHLD}, EPERM},
	{"clone of half a thread", SYS_clone, {CLONE_VM | CLONE_SIGHAND | CLONE_THREAD}, EPERM},
	{"clone with namespaces",
	 SYS_clone,
	 {CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWNS},
	 EPERM},
	{"clone3", SYS_clone3, {ZEROES, 64}, ENOSYS},
	{"kill", SYS_kill, {PARENT, 0}, EPERM},
	{"kill itself", SYS_kill, {SELF, 0}, EPERM},
	{"tgkill another", SYS_tgkill, {PARENT, PARENT, 0}, EPERM},
	{"tkill", SYS_tkill, {PARENT, 0}, EPERM},
	{"pidfd_open", SYS_pidfd_open, {PARENT, 0}, EPERM},
	{"pidfd_send_signal", SYS_pidfd_send_signal, {SOCK, 0, 0, 0}, EPERM},
	{"rt_sigqueueinfo", SYS_rt_sigqueueinfo, {PARENT, 0, ZEROES}, EPERM},
	{"kcmp of itself", SYS_kcmp, {SELF, SELF, KCMP_FILE, FILE_FD, FILE_FD}, 0},
	{"kcmp of another", SYS_kcmp, {PARENT, SELF, KCMP_FILE, 0, 0}, EPERM},
	{"kcmp of memory", SYS_kcmp, {SELF, SELF, KCMP_VM, 0, 0}, EPERM},
	{"prlimit64 of another", SYS_prlimit64, {PARENT, 7, 0, ZEROES}, EPERM},
	{"prlimit64, setting", SYS_prlimit64, {0, 7, ZEROES, 0}, EPERM},
	{"prlimit64, reading", SYS_prlimit64, {0, 7, 0, ZEROES}, 0},
	{"setrlimit", SYS_setrlimit, {7, ZEROES}, EPERM},
	{"setpriority", SYS_setpriority, {0, 0, 19}, EPERM},
	{"sched_setaffinity", SYS_sched_setaffinity, {PARENT, 8, ZEROES}, EPERM},
	{"sched_setscheduler", SYS_sched_setscheduler, {0, 0, ZEROES}, EPERM},
	{"setuid", SYS_setuid, {0}, EPERM},
	{"setresuid", SYS_setresuid, {0, 0, 0}, EPERM},
	{"setgroups", SYS_setgroups, {0, 0}, EPERM},
	{"capset", SYS_capset, {ZEROES, 0}, EPERM},
	{"setsid", SYS_setsid, {0}, EPERM},
	{"wait4", SYS_wait4, {-1, 0, 1, 0}, EPERM},
	{"prctl PR_SET_NAME", SYS_prctl, {PR_SET_NAME, ZEROES}, 0},
	{"prctl PR_SET_DUMPABLE", SYS_prctl, {PR_SET_DUMPABLE, 1}, EPERM},
	{"prctl PR_SET_PDEATHSIG", SYS_prctl, {PR_SET_PDEATHSIG, 0}, EPERM},
	{"prctl PR_SET_MM", SYS_prctl, {PR_SET_MM, 0}, EPERM},
	{"personality", SYS_personality, {0x400000}, EPERM},
	{"chroot", SYS_chroot, {PATH}, EPERM},
	{"seccomp", SYS_seccomp, {1, 0, ZEROES}, EPERM},
	{"landlock", SYS_landlock_create_ruleset, {0, 0, 1}, EPERM},
	{"memfd_secret", SYS_memfd_secret, {0}, EPERM},
	{"shmget", SYS_shmget, {0, 4096, 0600}, EPERM},
	{"mq_open", SYS_mq_open, {PATH, 0}, EPERM},
	{"syslog", SYS_syslog, {3, ZEROES, 1}, EPERM},
	{"settimeofday", SYS_settimeofday, {0, 0}, EPERM},
	{"uname", SYS_uname, {ZEROES}, EPERM},
	/* memory */
	{"mmap for execution",
	 SYS_mmap,
	 {0, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0},
	 EPERM},
	{"mprotect for execution", SYS_mprotect, {0, 4096, PROT_READ | PROT_EXEC}, EPERM},
	{"pkey_mprotect", SYS_pkey_mprotect, {0, 4096, PROT_READ, -1}, EPERM},
	{"remap_file_pages", SYS_remap_file_pages, {0, 4096, 0, 0, 0}, EPERM},
	{"mlock", SYS_mlock, {ZEROES, 4096}, EPERM},
	{"process_madvise", SYS_process_madvise, {SOCK, 0, 0, 0, 0}, EPERM},
	{"mmap", SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}, 0},
	/* rings */
	{"io_uring_setup", SYS_io_uring_setup, {8, ZEROES}, EPERM},
	{"io_uring_register",
	 SYS_io_uring_register,
	 {RING, IORING_REGISTER_PROBE, ZEROES, 0},
	 EPERM},
	{"io_uring_register without a ring", SYS_io_uring_register, {-1, 31, ZEROES, 1}, EPERM},
	{"io_uring_enter of another ring", SYS_io_uring_enter, {FOREIGN, 0, 0, 0, 0}, EPERM},
	{"io_uring_enter of a file", SYS_io_uring_enter, {FILE_FD, 0, 0, 0, 0}, EPERM},
};
#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

/* Of its rings, with the first's descriptor for RING. */
static const struct row ring_rows[] = {
	{"io_uring_enter", SYS_io_uring_enter, {RING, 0, 0, 0, 0}, 0},
	{"closing a ring", SYS_close, {RING}, EPERM},
	{"putting a file in its place", SYS_dup2, {FILE_FD, RING}, EPERM},
	{"closing a range", SYS_close_range, {RING, RING, 0}, EPERM},
	{"closing a file", SYS_close, {FILE_FD}, 0},
	{"closing another ring", SYS_close, {FOREIGN}, 0},
};
#define NR_RING_ROWS (sizeof(ring_rows) / sizeof(ring_rows[0]))

struct things {
	long sock, file, ring, foreign;
	char zeroes[4096];
};

static void make_things(struct things *t)
{
	int pair[2], from, fd;

	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
	t->sock = pair[0];
	from = memfd_create("file", MFD_CLOEXEC);
	/* Not below the rings' descriptors, as one that came later. */
	fd = fcntl(from, F_DUPFD_CLOEXEC, 200);
	must(fd >= 0, "dup");
	t->file = fd;
}

static void make_foreign(struct things *t)
{
	struct io_uring ring;

	t->foreign = -1;
	if (!io_uring_queue_init(8, &ring, 0))
		t->foreign = ring.ring_fd;
}

static long resolve(struct things *t, long arg)
{
	switch (arg) {
	case SOCK:
		return t->sock;
	case FILE_FD:
		return t->file;
	case RING:
		return t->ring;
	case FOREIGN:
		return t->foreign;
	case SELF:
		return getpid();
	case PARENT:
		return getppid();
	case ZEROES:
		return (long)t->zeroes;
	case PATH:
		return (long)"/etc/passwd";
	}
	return arg;
}

static struct result try(struct things *t, const struct row *row)
{
	struct result r;
	long a[6];

	for (unsigned i = 0; i < 6; i++)
		a[i] = resolve(t, row->args[i]);
	errno = 0;
	r.ret = syscall(row->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	r.error = r.ret < 0 ? errno : 0;
	return r;
}

/* Resolved before: getppid() is not allowed afterwards. */
static void resolve_all(struct things *t, const struct row *from, struct row *to, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		to[i] = from[i];
		for (unsigned k = 0; k < 6; k++)
			to[i].args[k] = resolve(t, from[i].args[k]);
	}
}

static void try_rows(int out)
{
	static struct row mine[NR_ROWS];
	static struct things t;

	make_things(&t);
	make_foreign(&t);
	t.ring = 3;
	resolve_all(&t, rows, mine, NR_ROWS);
	confine();
	for (unsigned i = 0; i < NR_ROWS; i++) {
		struct result r = try(&t, &mine[i]);

		if (!r.ret && (rows[i].nr == SYS_fork || rows[i].nr == SYS_vfork))
			_exit(0);
		memset(t.zeroes, 0, sizeof(t.zeroes));
		tell(out, &r, sizeof(r));
	}
}

/* Where eventfds have to be told by their names, readlink() is permitted. */
static bool without_aio(void)
{
	struct uvfio_eventfd_check check;
	bool ret;

	uvfio_eventfd_check_init(&check);
	ret = !check.context;
	uvfio_eventfd_check_fini(&check);
	return ret;
}

static unsigned compare(const struct row *list, const struct result *got, unsigned nr)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < nr; i++) {
		if (list[i].error == got[i].error || (list[i].nr == SYS_readlink && without_aio()))
			continue;
		print_error("%s: %s, not %s\n", list[i].name, strerror(got[i].error),
			    strerror(list[i].error));
		wrong++;
	}
	return wrong;
}

static void calls_are_denied(void **state)
{
	static struct result got[NR_ROWS];

	assert_int_equal(in_child(try_rows, got, sizeof(got)), 0);
	assert_int_equal(compare(rows, got, NR_ROWS), 0);
}

static void try_ring_rows(int out)
{
	static struct things t;
	struct block_rings *rings;
	unsigned first, nr;
	struct result r;

	make_things(&t);
	make_foreign(&t);
	rings = confine();
	must(rings, "rings");
	block_rings_fds(rings, &first, &nr);
	for (t.ring = first; t.ring < first + nr; t.ring++) {
		/* The whole block, and with what the kernel cuts off. */
		r = try(&t, &(struct row){"", SYS_close, {t.ring}, EPERM});
		must(r.error == EPERM, "close");
		r = try(&t, &(struct row){"", SYS_close, {PAST(t.ring)}, EPERM});
		must(r.error == EPERM, "close, 64 bits");
	}
	r = try(&t, &(struct row){"", SYS_close, {first - 1}, 0});
	must(r.error != EPERM, "close below");
	r = try(&t, &(struct row){"", SYS_close, {first + nr}, 0});
	must(r.error != EPERM, "close above");
	t.ring = first;
	for (unsigned i = 0; i < NR_RING_ROWS; i++) {
		r = try(&t, &ring_rows[i]);
		tell(out, &r, sizeof(r));
	}
}

static void rings_stay_where_they_are(void **state)
{
	static struct result got[NR_RING_ROWS];

	if (!have_rings())
		skip();
	assert_int_equal(in_child(try_ring_rows, got, sizeof(got)), 0);
	assert_int_equal(compare(ring_rows, got, NR_RING_ROWS), 0);
}

static const struct row deadly[] = {
	{"execve", SYS_execve, {PATH, 0, 0}, 0},
	{"ptrace", SYS_ptrace, {0}, 0},
	{"process_vm_readv", SYS_process_vm_readv, {1, 0, 0, 0, 0, 0}, 0},
	{"bpf", SYS_bpf, {0}, 0},
	{"mount", SYS_mount, {0}, 0},
	{"unshare", SYS_unshare, {0}, 0},
	{"setns", SYS_setns, {0}, 0},
	{"keyctl", SYS_keyctl, {0}, 0},
	{"userfaultfd", SYS_userfaultfd, {0}, 0},
	{"perf_event_open", SYS_perf_event_open, {0}, 0},
	{"pidfd_getfd", SYS_pidfd_getfd, {0}, 0},
	{"open_by_handle_at", SYS_open_by_handle_at, {0}, 0},
	{"kexec_load", SYS_kexec_load, {0}, 0},
};

static unsigned deadly_at;

static void try_deadly(int out)
{
	static struct things t;

	confine();
	try(&t, &deadly[deadly_at]);
}

static void some_calls_are_the_end(void **state)
{
	char nothing;

	for (deadly_at = 0; deadly_at < sizeof(deadly) / sizeof(deadly[0]); deadly_at++) {
		int status = in_child(try_deadly, &nothing, 1);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("%s: %#x", deadly[deadly_at].name, status);
	}
}

/* ---- rings ---- */

static int ring_do(struct io_uring *ring)
{
	struct io_uring_cqe *cqe = NULL;
	int ret;

	must(io_uring_submit(ring) == 1 && !io_uring_wait_cqe(ring, &cqe), "submitting");
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

static int ring_op(struct io_uring *ring, unsigned op, unsigned flags, int fd, void *buf,
		   unsigned len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	must(sqe, "a place in the ring");
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = (uint8_t)op;
	sqe->flags = (uint8_t)flags;
	sqe->fd = fd;
	sqe->addr = (uintptr_t)buf;
	sqe->len = len;
	return ring_do(ring);
}

static bool is_allowed(unsigned op)
{
	return op == IORING_OP_READ || op == IORING_OP_READV || op == IORING_OP_WRITE ||
	       op == IORING_OP_WRITEV || op == IORING_OP_FSYNC || op == IORING_OP_FALLOCATE;
}

#define ALL_OPS 256

struct ring_report {
	int op[ALL_OPS];
	int flag[8];
	int wrote, read, synced, allocated;
	char data[8];
};

static void try_ring(int out)
{
	static struct ring_report report;
	int fd = memfd_create("file", MFD_CLOEXEC);
	struct block_rings *rings = confine();
	struct block_ring *r;
	struct iovec iov = {report.data, 5};

	must(rings, "rings");
	r = block_rings_take(rings);
	for (unsigned op = 0; op < ALL_OPS; op++)
		if (!is_allowed(op))
			report.op[op] = ring_op(&r->ring, op, 0, AF_UNIX, "/etc/passwd", 0);
	for (unsigned i = 0; i < 8; i++)
		report.flag[i] = ring_op(&r->ring, IORING_OP_READ, 1u << i, fd, report.data, 1);
	report.wrote = ring_op(&r->ring, IORING_OP_WRITE, 0, fd, "hello", 5);
	report.allocated = ring_op(&r->ring, IORING_OP_FALLOCATE, 0, fd, (void *)8192, 0);
	report.synced = ring_op(&r->ring, IORING_OP_FSYNC, 0, fd, NULL, 0);
	report.read = ring_op(&r->ring, IORING_OP_READV, 0, fd, &iov, 1);
	block_rings_put(rings, r);
	tell(out, &report, sizeof(report));
}

static void rings_only_read_and_write(void **state)
{
	/* Those by which it could do what the filter forbids. */
	static const unsigned ops[] = {
		IORING_OP_SOCKET,    IORING_OP_CONNECT,    IORING_OP_ACCEPT,
		IORING_OP_OPENAT,    IORING_OP_OPENAT2,    IORING_OP_STATX,
		IORING_OP_UNLINKAT,  IORING_OP_RENAMEAT,   IORING_OP_MKDIRAT,
		IORING_OP_LINKAT,    IORING_OP_SENDMSG,    IORING_OP_SEND,
		IORING_OP_RECVMSG,   IORING_OP_CLOSE,      IORING_OP_SPLICE,
		IORING_OP_EPOLL_CTL, IORING_OP_MSG_RING,   IORING_OP_URING_CMD,
		IORING_OP_NOP,       IORING_OP_READ_FIXED, IORING_OP_FILES_UPDATE,
		IORING_OP_SETXATTR,  IORING_OP_FSETXATTR,
	};
	static struct ring_report r;
	struct io_uring_probe *probe;

	if (!have_rings())
		skip();
	probe = io_uring_get_probe();
	assert_non_null(probe);
	assert_int_equal(in_child(try_ring, &r, sizeof(r)), 0);
	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (io_uring_opcode_supported(probe, (int)ops[i]) && r.op[ops[i]] != -EACCES)
			fail_msg("operation %u: %d", ops[i], r.op[ops[i]]);
	/* What the kernel does not know is EINVAL. */
	for (unsigned op = 0; op < ALL_OPS; op++)
		if (!is_allowed(op) && r.op[op] != -EACCES &&
		    (op <= probe->last_op || r.op[op] != -EINVAL))
			fail_msg("operation %u: %d", op, r.op[op]);
	for (unsigned i = 0; i < 8; i++)
		if (r.flag[i] != -EACCES && r.flag[i] != -EINVAL)
			fail_msg("flag %u: %d", i, r.flag[i]);
	assert_int_equal(r.flag[IOSQE_FIXED_FILE_BIT], -EACCES);
	assert_int_equal(r.flag[IOSQE_ASYNC_BIT], -EACCES);
	assert_int_equal(r.wrote, 5);
	assert_int_equal(r.read, 5);
	assert_string_equal(r.data, "hello");
	assert_int_equal(r.synced, 0);
	assert_int_equal(r.allocated, 0);
	io_uring_free_probe(probe);
}

/* Also where no filter forbids it. */
static void nothing_is_registered_with_them(void **state)
{
	static const unsigned ops[] = {
		IORING_REGISTER_BUFFERS,      IORING_REGISTER_FILES,
		IORING_REGISTER_EVENTFD,      IORING_UNREGISTER_EVENTFD,
		IORING_REGISTER_PROBE,        IORING_REGISTER_PERSONALITY,
		IORING_REGISTER_RESTRICTIONS, IORING_REGISTER_ENABLE_RINGS,
		IORING_REGISTER_RING_FDS,     IORING_REGISTER_FILES_UPDATE,
	};
	struct uvfio_error err = {""};
	struct block_rings *rings;
	unsigned first, nr;
	char zeroes[4096];

	if (!have_rings())
		skip();
	rings = block_rings_new(NR_RINGS, &err);
	assert_non_null(rings);
	block_rings_fds(rings, &first, &nr);
	memset(zeroes, 0, sizeof(zeroes));
	for (unsigned fd = first; fd < first + nr; fd++)
		for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
			assert_int_equal(io_uring_register(fd, ops[i], zeroes, 1), -EACCES);
	block_rings_free(rings);
}

static void rings_are_a_block_of_descriptors(void **state)
{
	unsigned asked[] = {1, 2, 5, 8, 33}, first, nr;
	int in_the_way = -1;

	if (!have_rings())
		skip();
	for (unsigned i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct uvfio_error err = {""};
		struct block_rings *rings = block_rings_new(asked[i], &err);
		struct block_ring *taken[64];

		assert_non_null(rings);
		block_rings_fds(rings, &first, &nr);
		assert_true(nr >= asked[i] && nr < 2 * asked[i] && !(nr & (nr - 1)));
		assert_int_equal(first % nr, 0);
		assert_int_not_equal(first, in_the_way);
		for (unsigned k = 0; k < nr; k++) {
			assert_int_equal(fcntl((int)(first + k), F_GETFD), FD_CLOEXEC);
			taken[k] = block_rings_take(rings);
			assert_non_null(taken[k]);
		}
		assert_null(block_rings_take(rings));
		for (unsigned k = 0; k < nr; k++)
			block_rings_put(rings, taken[k]);
		block_rings_free(rings);
		assert_int_equal(fcntl((int)first, F_GETFD), -1);
		if (in_the_way < 0) /* the next one has to go elsewhere */
			in_the_way = fcntl(0, F_DUPFD_CLOEXEC, 64);
	}
	close(in_the_way);
}

/* ---- Landlock ---- */

static void each_landlock_gets_what_it_knows(void **state)
{
	/* The kernel's Documentation/userspace-api/landlock.rst, "ABI versions". */
	static const struct {
		long abi;
		size_t size;
		uint64_t fs, net, scoped;
	} cases[] = {
		{-1, 0, 0, 0, 0},
		{0, 0, 0, 0, 0},
		{1, 8, (1 << 13) - 1, 0, 0},
		{2, 8, (1 << 14) - 1, 0, 0},
		{3, 8, (1 << 15) - 1, 0, 0},
		{4, 16, (1 << 15) - 1, 3, 0},
		{5, 16, (1 << 16) - 1, 3, 0},
		{6, 24, (1 << 16) - 1, 3, 3},
		{7, 24, (1 << 16) - 1, 3, 3},
		{1000, 24, (1 << 16) - 1, 3, 3},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct serve_landlock rules;

		assert_int_equal(serve_landlock_rules(cases[i].abi, &rules), cases[i].size);
		assert_int_equal(rules.fs, cases[i].fs);
		assert_int_equal(rules.net, cases[i].net);
		assert_int_equal(rules.scoped, cases[i].scoped);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_are_denied),
		cmocka_unit_test(some_calls_are_the_end),
		cmocka_unit_test(rings_stay_where_they_are),
		cmocka_unit_test(rings_only_read_and_write),
		cmocka_unit_test(nothing_is_registered_with_them),
		cmocka_unit_test(rings_are_a_block_of_descriptors),
		cmocka_unit_test(each_landlock_gets_what_it_knows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
