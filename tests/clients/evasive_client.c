/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VFIO program that does not take the usual way: system calls that the filter does not see, file
 * descriptors that change hands, odd processes.  Each way is run by evasive_test.sh in a `uvfio
 * run` of its own with two NVMe devices.  Usage: evasive_client WAY [ARG]; prints FAIL lines, exits
 * 0 when what happened is sound, 77 when this machine does not offer the means.
 *
 * What the filter does not see must never be something weaker in silence: an open gets an empty
 * file, never what another process has open; a read of a device gets what is mapped there, or
 * nothing; a write gets an error.
 */
#include "evasive.h"
#include "support/send_fds.h"
#include <liburing.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

int failures;

#define skip(...)                                                                                  \
	do {                                                                                       \
		printf(__VA_ARGS__);                                                               \
		printf("\n");                                                                      \
		exit(77);                                                                          \
	} while (0)

static bool unseen(int fd)
{
	return fd >= 0 && ioctl(fd, VFIO_GET_API_VERSION) == -1 && errno == ENOTTY;
}

/* ---- io_uring ---- */

static void ring_open(struct io_uring *ring)
{
	int ret = io_uring_queue_init(8, ring, 0);

	if (ret)
		skip("no io_uring: %s", strerror(-ret));
}

static int ring_do(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int ret;

	NEED(io_uring_submit(ring) == 1 && !io_uring_wait_cqe(ring, &cqe));
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

static int ring_openat(const char *path, int flags)
{
	struct io_uring ring;
	int fd;

	ring_open(&ring);
	io_uring_prep_openat(io_uring_get_sqe(&ring), AT_FDCWD, path, flags, 0);
	fd = ring_do(&ring);
	io_uring_queue_exit(&ring);
	return fd;
}

/* ---- the 32-bit ABI of a 64-bit process ---- */

static long call32(long nr, long a, long b, long c, long d)
{
	long ret;

	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)ret;
}

#define OPEN32   5
#define GETPID32 20
#define IOCTL32  54
#define PREAD32  180 /* the offset is in two registers: only its low half is given here */
#define X32_BIT  0x40000000l

static char *low_memory(void)
{
	char *mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	NEED(mem != MAP_FAILED);
	return mem;
}

static bool has_32bit(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(call32(GETPID32, 0, 0, 0, 0) != getpid());
	NEED(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

/* ---- opens that are not seen ---- */

static void unseen_opens(void)
{
	static const char container[] = "/dev/vfio/vfio";
	char group[64], *low = low_memory();
	struct device d;
	int fd;

	open_device(&d, 0);
	group_path(group, 0);
	/* Another process holds all three; this one must not get hold of them by the back door. */
	CHECK(unseen(open(container, O_RDONLY)));
	CHECK(unseen(open(group, O_RDONLY)));
	CHECK(open(group, O_RDWR) == -1 && errno == EBUSY);
	CHECK(open(group, O_WRONLY) == -1 && errno == EBUSY);
	fd = ring_openat(container, O_RDWR);
	CHECK(unseen(fd));
	fd = ring_openat(group, O_RDWR);
	CHECK(unseen(fd));
	CHECK(ioctl(fd, VFIO_GROUP_GET_DEVICE_FD, names[0]) == -1 && errno == ENOTTY);
	if (has_32bit()) {
		strcpy(low, container);
		CHECK(unseen((int)call32(OPEN32, (long)low, O_RDWR, 0, 0)));
		strcpy(low, group);
		CHECK(unseen((int)call32(OPEN32, (long)low, O_RDWR, 0, 0)));
	}
	fd = (int)syscall(X32_BIT | SYS_open, group, O_RDWR);
	CHECK(fd == -1 || unseen(fd));
	/* A descriptor that is a path only. */
	fd = open(container, O_PATH);
	CHECK(fd >= 0 && ioctl(fd, VFIO_GET_API_VERSION) == -1 && errno == EBADF);
	snprintf(group, sizeof(group), "/proc/self/fd/%d", d.fd);
	fd = ring_openat(group, O_PATH);
	CHECK(fd >= 0 && pread(fd, low, 4, (off_t)d.bar) == -1 && errno == EBADF);
	/* Nothing of that was an open of the group. */
	read_register(&d, 0x1c);
	close(d.fd);
	CHECK(!ioctl(d.group, VFIO_GROUP_UNSET_CONTAINER));
}

int open_how(int dir, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags, .resolve = resolve};

	return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* openat2 with each restriction: ours, or the kernel's refusal. */
static void restricted_opens(void)
{
	char dir[] = "/tmp/evasive-XXXXXX", link[64];
	int dev = open("/dev", O_PATH | O_DIRECTORY),
	    here = open("/dev/vfio", O_PATH | O_DIRECTORY);
	int tmp, fd;

	NEED(dev >= 0 && here >= 0 && mkdtemp(dir));
	tmp = open(dir, O_PATH | O_DIRECTORY);
	snprintf(link, sizeof(link), "%s/link", dir);
	NEED(!symlink("/dev/vfio/vfio", link));
#define OURS(...)                                                                                  \
	do {                                                                                       \
		fd = open_how(__VA_ARGS__);                                                        \
		CHECK(fd >= 0 && ioctl(fd, VFIO_GET_API_VERSION) == VFIO_API_VERSION);             \
		close(fd);                                                                         \
	} while (0)
#define REFUSED(why, ...)                                                                          \
	do {                                                                                       \
		fd = open_how(__VA_ARGS__);                                                        \
		CHECK(fd == -1 && errno == (why));                                                 \
	} while (0)
	OURS(AT_FDCWD, "/dev/vfio/vfio", O_RDWR, RESOLVE_NO_SYMLINKS);
	OURS(AT_FDCWD, "/dev/vfio/vfio", O_RDONLY, RESOLVE_NO_MAGICLINKS);
	OURS(AT_FDCWD, link, O_RDWR, RESOLVE_NO_MAGICLINKS);
	REFUSED(ELOOP, AT_FDCWD, link, O_RDWR, RESOLVE_NO_SYMLINKS);
	OURS(dev, "vfio/vfio", O_RDWR, RESOLVE_BENEATH);
	OURS(dev, "vfio/../vfio/vfio", O_RDWR, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	REFUSED(EXDEV, dev, "/dev/vfio/vfio", O_RDWR, RESOLVE_BENEATH);
	REFUSED(EXDEV, here, "../vfio/vfio", O_RDWR, RESOLVE_BENEATH);
	REFUSED(EXDEV, tmp, "link", O_RDWR, RESOLVE_BENEATH);
	OURS(dev, "/vfio/vfio", O_RDWR, RESOLVE_IN_ROOT);
	OURS(here, "../../vfio", O_RDWR, RESOLVE_IN_ROOT);
	REFUSED(ENOENT, tmp, "link", O_RDWR, RESOLVE_IN_ROOT);
	REFUSED(EXDEV, dev, "vfio/vfio", O_RDWR, RESOLVE_NO_XDEV);
	REFUSED(EINVAL, AT_FDCWD, "/dev/vfio/vfio", O_RDWR, RESOLVE_IN_ROOT | RESOLVE_BENEATH);
	REFUSED(EINVAL, AT_FDCWD, "/dev/vfio/vfio", O_RDWR, 1 << 30);
	REFUSED(EINVAL, AT_FDCWD, "/dev/vfio/vfio", O_RDWR | 1ull << 40, 0);
	unlink(link);
	rmdir(dir);
}

/* ---- transfers that are not seen ---- */

/* What is got at @offset must be what a mapping shows, or nothing at all. */
static void sound(struct device *d, const char *how, long n, const void *got, bool config)
{
	uint8_t want[64];

	if (n <= 0)
		return;
	if (config) {
		/* Ones are what nobody takes for an answer. */
		for (long i = 0; i < n; i++) {
			if (((const uint8_t *)got)[i] != 0xff) {
				printf("FAIL %s: something in the place of config space\n", how);
				failures++;
				return;
			}
		}
		return;
	}
	NEED(pread(d->fd, want, (size_t)n, (off_t)d->bar) == n);
	if (memcmp(want, got, (size_t)n)) {
		printf("FAIL %s: something else than the registers\n", how);
		failures++;
	}
}

static void unseen_transfers(void)
{
	static const struct {
		const char *name;
		uint64_t value;
		unsigned size;
	} poke = {"AQA", 0xdeadbeef, 4};
	struct device d, e;
	uint8_t buf[64];
	int pipes[2];
	struct io_uring ring;

	open_device(&d, 0);
	open_device(&e, 1);
	write_register(&d, 0x24, 0x30003, 4);
	NEED(!pipe(pipes) && !fcntl(pipes[0], F_SETFL, O_NONBLOCK));
	ring_open(&ring);
	for (unsigned config = 0; config < 2; config++) {
		off_t at = config ? (off_t)CONFIG_OFFSET : (off_t)d.bar;
		struct iovec iov = {buf, sizeof(buf)};
		loff_t from = at, to = (loff_t)e.bar;

		memset(buf, 0x5a, sizeof(buf));
		io_uring_prep_read(io_uring_get_sqe(&ring), d.fd, buf, sizeof(buf), (uint64_t)at);
		sound(&d, "io_uring read", ring_do(&ring), buf, config);
		io_uring_prep_readv(io_uring_get_sqe(&ring), d.fd, &iov, 1, (uint64_t)at);
		sound(&d, "io_uring readv", ring_do(&ring), buf, config);
		CHECK(lseek(d.fd, at, SEEK_SET) == at);
		sound(&d, "read", read(d.fd, buf, sizeof(buf)), buf, config);
		CHECK(lseek(d.fd, at, SEEK_SET) == at);
		sound(&d, "preadv2 at the position", preadv2(d.fd, &iov, 1, -1, 0), buf, config);
		if (splice(d.fd, &from, pipes[1], NULL, sizeof(buf), 0) > 0)
			sound(&d, "splice", read(pipes[0], buf, sizeof(buf)), buf, config);
		from = at;
		if (sendfile(pipes[1], d.fd, &from, sizeof(buf)) > 0)
			sound(&d, "sendfile", read(pipes[0], buf, sizeof(buf)), buf, config);

		/* Nothing may be written behind the device's back. */
		memcpy(buf, &poke.value, 8);
		io_uring_prep_write(io_uring_get_sqe(&ring), d.fd, buf, poke.size,
				    (uint64_t)at + 0x24);
		CHECK(ring_do(&ring) < 0);
		CHECK(lseek(d.fd, at + 0x24, SEEK_SET) == at + 0x24);
		CHECK(write(d.fd, buf, poke.size) < 0);
		NEED(write(pipes[1], buf, poke.size) == (ssize_t)poke.size);
		from = at + 0x24;
		CHECK(splice(pipes[0], NULL, d.fd, &from, poke.size, 0) < 0);
		(void)!read(pipes[0], buf, sizeof(buf));
		/* From one device into another. */
		from = at;
		CHECK(copy_file_range(d.fd, &from, e.fd, &to, 8, 0) <= 0);
		from = at;
		CHECK(sendfile(e.fd, d.fd, &from, 8) <= 0);
	}
	CHECK(fallocate(d.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)d.bar, PAGE) < 0);
	CHECK(read_register(&d, 0x24) == 0x30003);
	if (has_32bit()) {
		char *low = low_memory();

		/* At offset 0, where the kernel has BAR 0. */
		sound(&d, "32-bit pread", call32(PREAD32, d.fd, (long)low, 8, 0), low, true);
		CHECK(call32(IOCTL32, d.fd, VFIO_DEVICE_RESET, 0, 0) == -ENOTTY);
	}
	CHECK(read_register(&d, 0x24) == 0x30003);
	io_uring_queue_exit(&ring);
}

/* The mapping of a register page, through the eyes and hands of others. */
static void foreign_memory(void)
{
	struct device d;
	uint32_t value = 0, poke = 0xdeadbeef;
	uint8_t *bar;
	char path[32];
	pid_t pid;
	int status, mem;

	open_device(&d, 0);
	write_register(&d, 0x24, 0x30003, 4);
	bar = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, d.fd, (off_t)d.bar);
	if (bar == MAP_FAILED)
		skip("registers cannot be mapped here");
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	/* Reading is as in the process itself; writing is refused, not lost. */
	CHECK(process_vm_readv(pid, &(struct iovec){&value, 4}, 1, &(struct iovec){bar + 0x24, 4},
			       1, 0) == 4);
	CHECK(value == 0x30003);
	CHECK(process_vm_writev(pid, &(struct iovec){&poke, 4}, 1, &(struct iovec){bar + 0x24, 4},
				1, 0) == -1);
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDWR);
	CHECK(mem >= 0 && pwrite(mem, &poke, 4, (off_t)(uintptr_t)(bar + 0x24)) == -1);
	CHECK(ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0);
	CHECK(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid);
	CHECK(ptrace(PTRACE_POKEDATA, pid, bar + 0x20, (void *)0xdeadbeefl) == -1);
	CHECK(read_register(&d, 0x24) == 0x30003);
	CHECK(*(volatile uint32_t *)(bar + 0x24) == 0x30003);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- file descriptors ---- */

static void send_fd(int sock, int fd)
{
	char c = 'x';
	struct iovec iov = {&c, 1};

	NEED(sendmsg_fds(sock, &iov, 1, &fd, 1) == 1);
}

/* Give the device to a process outside of the run, and end. */
static void give_away(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_STREAM, 0);
	struct device d;
	char c;

	open_device(&d, 0);
	write_register(&d, 0x24, 0x30003, 4);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	NEED(!connect(sock, (struct sockaddr *)&addr, sizeof(addr)));
	send_fd(sock, d.fd);
	NEED(read(sock, &c, 1) == 1);
	CHECK(read_register(&d, 0x24) == 0x30003);
}

/* Thread of its own descriptor table: a number means what it means to the thread that asks. */
struct table {
	struct device *d;
	int fd, ret, error;
};

int set_trigger(int device, int fd)
{
	struct {
		struct vfio_irq_set hdr;
		int32_t fd;
	} set = {.hdr = {.argsz = sizeof(set),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = VFIO_PCI_MSIX_IRQ_INDEX,
			 .count = 1},
		 .fd = fd};

	return ioctl(device, VFIO_DEVICE_SET_IRQS, &set);
}

static int loopback(int device)
{
	struct vfio_irq_set set = {.argsz = sizeof(set),
				   .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
				   .index = VFIO_PCI_MSIX_IRQ_INDEX,
				   .count = 1};

	return ioctl(device, VFIO_DEVICE_SET_IRQS, &set);
}

static void *own_table(void *arg)
{
	struct table *t = arg;
	uint64_t count = 0;
	int fd;

	NEED(!unshare(CLONE_FILES));
	fd = dup2(eventfd(0, EFD_NONBLOCK), 700);
	NEED(fd == 700);
	t->ret = set_trigger(t->d->fd, 700);
	CHECK(t->ret == 0 && loopback(t->d->fd) == 0);
	CHECK(read(700, &count, 8) == 8 && count == 1);
	/* The device under another number, that only this thread knows. */
	NEED(dup2(t->d->fd, 701) == 701);
	CHECK(ioctl(701, VFIO_DEVICE_RESET) == 0);
	/* And its number given away, here only. */
	NEED(dup2(700, t->d->fd) == t->d->fd);
	CHECK(ioctl(t->d->fd, VFIO_DEVICE_RESET) == -1 && errno == ENOTTY);
	return NULL;
}

static void own_tables(void)
{
	struct device d;
	struct table t = {&d, -1, -1, 0};
	pthread_t thread;

	open_device(&d, 0);
	NEED(!pthread_create(&thread, NULL, own_table, &t));
	pthread_join(thread, NULL);
	CHECK(set_trigger(d.fd, 700) == -1 && errno == EBADF);
	CHECK(ioctl(701, VFIO_DEVICE_RESET) == -1 && errno == EBADF);
	CHECK(ioctl(d.fd, VFIO_DEVICE_RESET) == 0);
}

static void *own_table_only(void *arg)
{
	struct table *t = arg;

	NEED(!unshare(CLONE_FILES));
	NEED(dup2(eventfd(0, EFD_NONBLOCK), 700) == 700);
	t->ret = set_trigger(t->d->fd, 700);
	t->error = errno;
	return NULL;
}

/* Before Linux 6.9 only the first thread's table can be asked.  An eventfd that has the number
 * there is not the one that was meant. */
static void own_tables_old(void)
{
	struct device d;
	struct table t = {&d, -1, -1, 0};
	pthread_t thread;

	open_device(&d, 0);
	NEED(dup2(eventfd(0, EFD_NONBLOCK), 700) == 700);
	NEED(!pthread_create(&thread, NULL, own_table_only, &t));
	pthread_join(thread, NULL);
	CHECK(t.ret == -1 && t.error == EBADF);
	CHECK(set_trigger(d.fd, 700) == 0 && loopback(d.fd) == 0);
}

static struct {
	struct device d[2];
	int slot;
	atomic_bool stop;
	atomic_uint good, wrong;
} race;

static void *racing_calls(void *arg)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	uint16_t id;

	while (!atomic_load(&race.stop)) {
		errno = 0;
		if (!ioctl(race.slot, VFIO_DEVICE_GET_INFO, &info))
			atomic_fetch_add(&race.good, info.num_regions == 9);
		else if (errno != EBADF && errno != ENOTTY && errno != EINVAL)
			atomic_fetch_add(&race.wrong, 1);
		if (pread(race.slot, &id, 2, (off_t)CONFIG_OFFSET) < 0 && errno != EBADF &&
		    errno != EINVAL && errno != ESPIPE)
			atomic_fetch_add(&race.wrong, 1);
		if (set_trigger(race.d[0].fd, race.slot) && errno != EBADF && errno != EINVAL)
			atomic_fetch_add(&race.wrong, 1);
	}
	return NULL;
}

/* A number that is now one device, now the other, an eventfd, or nothing, while others use it. */
static void racing_numbers(void)
{
	pthread_t threads[4];
	int event = eventfd(0, 0);

	open_device(&race.d[0], 0);
	open_device(&race.d[1], 1);
	race.slot = 500;
	for (unsigned i = 0; i < 4; i++)
		NEED(!pthread_create(&threads[i], NULL, racing_calls, NULL));
	for (unsigned i = 0; i < 20000 || atomic_load(&race.good) < 100; i++) {
		NEED(dup3(race.d[i & 1].fd, race.slot, O_CLOEXEC) == race.slot);
		if (i % 5 == 0)
			NEED(dup2(event, race.slot) == race.slot);
		if (i % 3 == 0)
			NEED(!syscall(SYS_close_range, race.slot, race.slot, 0));
	}
	atomic_store(&race.stop, true);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(!atomic_load(&race.wrong));
	for (unsigned i = 0; i < 2; i++) {
		CHECK(!ioctl(race.d[i].fd, VFIO_DEVICE_RESET));
		close(race.d[i].fd);
	}
	close(race.slot);
	CHECK(!ioctl(race.d[0].group, VFIO_GROUP_UNSET_CONTAINER));
	CHECK(!ioctl(race.d[1].group, VFIO_GROUP_UNSET_CONTAINER));
}

/* ---- processes ---- */

static bool use_device(void *arg)
{
	struct device d;

	open_device(&d, 0);
	enable(&d); /* reads the admin queue's memory by DMA once there is a command */
	CHECK(set_trigger(d.fd, eventfd(0, 0)) == 0 && loopback(d.fd) == 0);
	close(d.fd);
	close(d.group);
	close(d.container);
	return !failures;
}

static bool in_root(void *arg)
{
	int fd;

	/* /dev as the root directory. */
	NEED(!chdir("/dev") && !chroot("/dev") && !chdir("/"));
	fd = open("/vfio/vfio", O_RDWR);
	CHECK(ioctl(fd, VFIO_GET_API_VERSION) == VFIO_API_VERSION);
	close(fd);
	fd = open("vfio/vfio", O_RDWR);
	CHECK(ioctl(fd, VFIO_GET_API_VERSION) == VFIO_API_VERSION);
	close(fd);
	fd = open("/../../vfio/./vfio", O_RDWR);
	CHECK(ioctl(fd, VFIO_GET_API_VERSION) == VFIO_API_VERSION);
	close(fd);
	CHECK(open("/dev/vfio/vfio", O_RDWR) == -1 && errno == ENOENT);
	return !failures;
}

static bool in_namespaces(void *arg)
{
	pid_t pid;
	int status;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC)) {
		printf("no namespaces of its own: %s\n", strerror(errno));
		_exit(77);
	}
	pid = fork();
	NEED(pid >= 0);
	if (!pid)
		_exit(!use_device(NULL) || !in_root(NULL));
	NEED(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static void namespaces(void)
{
	pid_t pid = fork();
	int status;

	NEED(pid >= 0);
	if (!pid)
		_exit(!in_namespaces(NULL));
	NEED(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		exit(77);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	CHECK(child(use_device, NULL));
}

static char clone_stack[65536] __attribute__((aligned(16)));

static int shares_memory(void *arg)
{
	struct device *d = arg;

	/* Its own descriptors, its parent's memory. */
	NEED(dup2(d->fd, 600) == 600);
	close(d->fd);
	CHECK(ioctl(600, VFIO_DEVICE_RESET) == 0);
	map_memory(d);
	return 0;
}

/* vfork, and processes that share memory but no descriptors. */
static void shared_memory(void)
{
	struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof(unmap), .iova = IOVA};
	struct device d;
	pid_t pid;
	int status;

	open_device(&d, 0);
	pid = clone(shares_memory, clone_stack + sizeof(clone_stack), CLONE_VM | SIGCHLD, &d);
	NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	CHECK(ioctl(600, VFIO_DEVICE_RESET) == -1 && errno == EBADF);
	CHECK(ioctl(d.fd, VFIO_DEVICE_RESET) == 0);
	/* What it mapped is the container's. */
	unmap.size = 2 * PAGE;
	CHECK(!ioctl(d.container, VFIO_IOMMU_UNMAP_DMA, &unmap) && unmap.size == 2 * PAGE);
	pid = clone(shares_memory, clone_stack + sizeof(clone_stack),
		    CLONE_VM | CLONE_VFORK | SIGCHLD, &d);
	NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	/* The DMA goes to the memory that both share, although who mapped it has gone. */
	unmap.size = 2 * PAGE;
	CHECK(!ioctl(d.container, VFIO_IOMMU_UNMAP_DMA, &unmap) && unmap.size == 2 * PAGE);
	enable(&d);
}

/* ---- stopped, traced ---- */

static bool in_state(pid_t pid, char want)
{
	char path[32], line[512] = "", *state;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	(void)!fgets(line, sizeof(line), f);
	fclose(f);
	state = strrchr(line, ')');
	return state && state[2] == want;
}

static void await_state(pid_t pid, char want)
{
	for (unsigned i = 0; i < SECONDS * 200 && !in_state(pid, want); i++)
		usleep(5000);
	CHECK(in_state(pid, want));
}

/* True when it has ended, with *@status. */
static bool trace_for_a_moment(pid_t pid, int *status)
{
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL)) {
		CHECK(errno == EPERM); /* YAMA, or it has just ended */
		return false;
	}
	ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	CHECK(waitpid(pid, status, __WALL) == pid);
	if (!WIFSTOPPED(*status))
		return true;
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	return false;
}

/* Stopped, continued and traced again and again, wherever it is in its calls: none of them fails,
 * and none is made twice. */
static void stopped(void)
{
	enum { WRITES = 500 };
	struct device d;
	int status;
	pid_t pid;

	open_device(&d, 0);
	pid = fork();
	NEED(pid >= 0);
	if (!pid) {
		for (uint32_t i = 1; i <= WRITES; i++) {
			write_register(&d, 0x24, i, 4);
			CHECK(read_register(&d, 0x24) == i);
		}
		_exit(failures != 0);
	}
	for (unsigned i = 0; !waitpid(pid, &status, WNOHANG); i++) {
		if (i % 2) {
			if (trace_for_a_moment(pid, &status))
				break;
		} else {
			kill(pid, SIGSTOP);
			usleep(500); /* anywhere: what for is the number of rounds */
			kill(pid, SIGCONT);
		}
	}
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	CHECK(read_register(&d, 0x24) == WRITES);
}

struct stalled {
	struct device *d;
	void *page;
	int ret, error;
	pid_t tid;
};

static void *stalled_call(void *arg)
{
	struct stalled *s = arg;

	s->ret = ioctl(s->d->fd, VFIO_DEVICE_GET_INFO, s->page);
	s->error = errno;
	return NULL;
}

/* The whole process stopped while one of its calls waits for memory; others are served. */
static bool stall_and_stop(void *arg)
{
	int *report = arg;
	struct stalled s;
	struct device d;
	struct uffd_msg msg;
	pthread_t thread;
	int uffd;

	open_device(&d, 0);
	uffd = stall_pages(d.mem, PAGE);
	s = (struct stalled){.d = &d, .page = d.mem};
	NEED(!pthread_create(&thread, NULL, stalled_call, &s));
	NEED(read(uffd, &msg, sizeof(msg)) == sizeof(msg)); /* the server waits for the page */
	NEED(write(report[1], "x", 1) == 1);
	raise(SIGSTOP);
	release_page(uffd, d.mem);
	pthread_join(thread, NULL);
	return s.ret == -1 && s.error == EINVAL && !failures;
}

static void stopped_in_a_call(void)
{
	int report[2], status;
	struct device e;
	pid_t pid;
	char c;

	NEED(!pipe(report));
	pid = fork();
	NEED(pid >= 0);
	if (!pid)
		_exit(!stall_and_stop(report));
	close(report[1]);
	if (read(report[0], &c, 1) != 1) {
		NEED(waitpid(pid, &status, 0) == pid);
		exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
	await_state(pid, 'T');
	alarm(SECONDS);
	open_device(&e, 1);
	enable(&e);
	CHECK(!ioctl(e.fd, VFIO_DEVICE_RESET));
	alarm(0);
	kill(pid, SIGCONT);
	NEED(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
}

static const struct {
	const char *name;
	void (*fn)(void);
} ways[] = {
	{"unseen-opens", unseen_opens},
	{"reopened", reopened},
	{"hands-changed", hands_changed},
	{"restricted-opens", restricted_opens},
	{"unseen-transfers", unseen_transfers},
	{"foreign-memory", foreign_memory},
	{"own-tables", own_tables},
	{"own-tables-old", own_tables_old},
	{"racing-numbers", racing_numbers},
	{"namespaces", namespaces},
	{"shared-memory", shared_memory},
	{"stopped", stopped},
	{"stopped-in-a-call", stopped_in_a_call},
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc == 3 && !strcmp(argv[1], "give-away")) {
		give_away(argv[2]);
		return failures != 0;
	}
	for (unsigned i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		if (argc != 2 || strcmp(argv[1], ways[i].name))
			continue;
		ways[i].fn();
		return failures != 0;
	}
	fprintf(stderr, "usage: evasive_client WAY\n");
	return 2;
}
