/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VFIO program that means harm: each attack is run by hostile_test.sh in a `uvfio run` of its own
 * with two NVMe devices.  Usage: hostile_client ATTACK; prints FAIL lines, exits 0 when the server
 * bore it, 77 when this machine does not offer the means.
 */
#include "hostile.h"
#include "support/nvme_client.h"

int failures;

/* ---- the attacks ---- */

static void get_device(void *arg)
{
	struct device *d = arg;

	CHECK(ioctl(d->group, VFIO_GROUP_GET_DEVICE_FD, d->mem) == -1);
}

static void open_second(void *arg)
{
	struct device other;

	open_device(&other, 1);
	close(other.fd);
	close(other.group);
	close(other.container);
}

/* A name whose end does not come must not keep others from opening. */
static void name_without_end(void)
{
	struct attempt bad, good;
	pthread_t a, b;
	struct device d;
	int stall;

	open_device(&d, 0);
	stall = stall_pages(d.mem + PAGE, PAGE);
	memset(d.mem, 'x', PAGE);
	d.mem += PAGE - 512;
	a = start(&bad, get_device, &d);
	while (!atomic_load(&bad.done) && syscall(SYS_gettid)) {
		struct {
			struct uffd_msg msg;
		} event;

		/* The server is waiting for the page. */
		if (read(stall, &event, sizeof(event)) == sizeof(event))
			break;
	}
	b = start(&good, open_second, NULL);
	CHECK(ends(&good));
	release_page(stall, d.mem + 512);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
}

/* More requests whose memory does not come than the server has threads, of one process. */
static struct {
	int device;
	void *page;
	atomic_uint answered, wrong;
} stalls;

static void *stalled_info(void *arg)
{
	/* Once it comes, it is zero. */
	if (ioctl(stalls.device, VFIO_DEVICE_GET_INFO, stalls.page) != -1 || errno != EINVAL)
		atomic_fetch_add(&stalls.wrong, 1);
	atomic_fetch_add(&stalls.answered, 1);
	return NULL;
}

static void stalls_without_end(void)
{
	enum { THREADS = 1200, KILLED = 200 };
	static pthread_t threads[THREADS];
	struct device d;
	pthread_attr_t attr;
	pid_t other, dying;
	int go[2], status, uffd;

	NEED(!pipe(go));
	other = fork();
	NEED(other >= 0);
	if (!other) {
		char c;

		alarm(SECONDS);
		NEED(read(go[0], &c, 1) == 1);
		open_second(NULL);
		_exit(failures != 0);
	}
	open_device(&d, 0);
	stalls.device = d.fd;
	stalls.page = d.mem;
	/* Some come from a process that does not live to see them answered. */
	dying = fork();
	NEED(dying >= 0);
	NEED(!pthread_attr_init(&attr) && !pthread_attr_setstacksize(&attr, 65536));
	uffd = stall_pages(d.mem, PAGE);
	for (unsigned i = 0; i < (dying ? THREADS : KILLED); i++)
		NEED(!pthread_create(&threads[i], &attr, stalled_info, NULL));
	if (!dying)
		pause();
	/* Each has sent its request, when the server has read the first ones': the rest follows,
	 * and an unfavourable moment would only make the test easier. */
	usleep(300000);
	NEED(write(go[1], "x", 1) == 1);
	NEED(waitpid(other, &status, 0) == other);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	CHECK(!kill(dying, SIGKILL) && waitpid(dying, &status, 0) == dying);
	CHECK(atomic_load(&stalls.answered) == 0);
	release_page(uffd, d.mem);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(atomic_load(&stalls.answered) == THREADS && !atomic_load(&stalls.wrong));
	/* All is as before. */
	read_register(&d, 0x1c);
	open_second(NULL);
}

static long server_pages(void)
{
	char path[64];
	long size, resident;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", getppid());
	f = fopen(path, "r");
	NEED(f && fscanf(f, "%ld %ld", &size, &resident) == 2);
	fclose(f);
	return resident;
}

/* One fd of the device stays, others come and go: the server must not remember them. */
static void device_fds_without_end(void)
{
	struct device d;
	long before = 0;

	open_device(&d, 0);
	for (unsigned i = 0; i < 40000; i++) {
		int fd = ioctl(d.group, VFIO_GROUP_GET_DEVICE_FD, names[0]);

		NEED(fd >= 0);
		close(fd);
		if (i == 4000)
			before = server_pages();
	}
	CHECK(server_pages() - before < 128);
	read_register(&d, 0x1c);
	close(d.fd);
	/* The last one is gone, so the group can leave its container. */
	CHECK(!ioctl(d.group, VFIO_GROUP_UNSET_CONTAINER));
}

/* Many clients together have more than the server; with this one of them is enough. */
static void limit_server(rlim_t nr)
{
	NEED(!prlimit(getppid(), RLIMIT_NOFILE, &(struct rlimit){nr, nr}, NULL));
}

/* What the server holds for clients must leave it enough to serve them. */
static void descriptors_without_end(void)
{
	enum { MAX = 2000 };
	static int fds[MAX];
	int keep = open("/dev/vfio/vfio", O_RDWR);
	unsigned nr = 0;
	struct stat last = {0}, st;

	NEED(keep >= 0);
	limit_server(200);
	for (; nr < MAX; nr++) {
		fds[nr] = open("/dev/vfio/vfio", O_RDWR);
		if (fds[nr] < 0)
			break;
		CHECK(ioctl(fds[nr], VFIO_GET_API_VERSION) == 0);
		NEED(!fstat(fds[nr], &st));
		NEED(st.st_ino != last.st_ino);
		last = st;
	}
	CHECK(nr > 8 && nr < MAX && errno == ENFILE);
	/* What is there goes on working. */
	CHECK(ioctl(keep, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) == 1);
	CHECK(open("/dev/zero", O_RDWR) >= 0);
	while (nr)
		close(fds[--nr]);
	open_second(NULL);
	close(keep);
}

/* As before, with eventfds. */
static void eventfds_without_end(void)
{
	struct {
		struct vfio_irq_set hdr;
		int32_t fds[2048];
	} set = {.hdr = {.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = VFIO_PCI_MSIX_IRQ_INDEX}};
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_MSIX_IRQ_INDEX};
	struct device d[2];

	for (unsigned i = 0; i < 2; i++) {
		open_device(&d[i], i);
		limit_server(220); /* half of it is for requests */
		NEED(!ioctl(d[i].fd, VFIO_DEVICE_GET_IRQ_INFO, &info));
		set.hdr.count = info.count;
		set.hdr.argsz = (uint32_t)(sizeof(set.hdr) + 4 * info.count);
		for (unsigned k = 0; k < info.count; k++)
			set.fds[k] = eventfd(0, 0);
		NEED(set.fds[info.count - 1] >= 0);
		/* Two times 64 and more. */
		if (ioctl(d[i].fd, VFIO_DEVICE_SET_IRQS, &set))
			CHECK(errno == ENFILE);
		else
			CHECK(i == 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		uint16_t vendor = 0;

		CHECK(pread(d[i].fd, &vendor, 2, CONFIG_OFFSET) == 2 && vendor);
		CHECK(!ioctl(d[i].fd, VFIO_DEVICE_RESET));
	}
}

/* What a program may have the server say is limited. */
static void messages_without_end(void)
{
	static const char text[] = "all work and no play makes a dull log";
	struct device d;

	open_device(&d, 0);
	for (unsigned i = 0; i < 2000; i++) {
		ioctl(d.fd, UVFIO_TRAP_FATAL, text, sizeof(text) - 1);
		write_register(&d, 0x14, 1, 4); /* no queues: refused */
		write_register(&d, 0x14, 0, 4);
	}
}

/* ---- the helper's right to store ---- */

static struct {
	struct device *device;
	uint64_t key;
	int go[2];
} right;

static bool guesses(void *arg)
{
	char c;

	if (read(right.go[0], &c, 1) != 1)
		return false;
	for (uint64_t key = 0; key < 5000; key++) {
		if (trap_store(right.device, key, 0xdead) != -1 || errno != EBADF)
			return false;
		if (trap_store(right.device, key << 32 | key, 0xdead) != -1 || errno != EBADF)
			return false;
	}
	return true;
}

static bool inherits(void *arg)
{
	return !trap_store(right.device, right.key, 0x70007);
}

/* A process is killed in a call, whose memory does not come.  To the kernel it is not dead before
 * the call has ended; so what it had open is not busy for who has seen it die, who waits instead.
 */
static void open_again(void *arg)
{
	*(int *)arg = open_group(0);
}

static void dies_in_a_call(void)
{
	struct attempt opening;
	int ready[2], uffd, group = -1, status;
	struct uffd_msg event;
	struct device d;
	pthread_t thread;
	pid_t pid;

	open_device(&d, 0);
	NEED(!pipe(ready));
	pid = fork();
	NEED(pid >= 0);
	if (!pid) {
		uffd = stall_pages(d.mem, PAGE);
		NEED(write(ready[1], &uffd, sizeof(uffd)) == sizeof(uffd));
		ioctl(d.fd, VFIO_DEVICE_GET_INFO, d.mem);
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], &uffd, sizeof(uffd)) != sizeof(uffd)) {
		NEED(waitpid(pid, &status, 0) == pid);
		exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1); /* it cannot be had here */
	}
	uffd = (int)syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, pid, 0), uffd, 0);
	NEED(uffd >= 0 && read(uffd, &event, sizeof(event)) == sizeof(event));
	/* The server waits for the page. */
	NEED(!kill(pid, SIGKILL) && waitpid(pid, &status, 0) == pid);
	close(d.fd);
	close(d.group);
	close(d.container);
	thread = start(&opening, open_again, &group);
	usleep(100000); /* for it to get there; without this the test would only see less */
	CHECK(!atomic_load(&opening.done));
	close(uffd);
	pthread_join(thread, NULL);
	CHECK(group >= 0);
	close(group);
	open_device(&d, 0);
}

/* Only who has the device, or is forked from one who has, stores to its registers. */
static void guessed_keys(void)
{
	struct device d;
	pid_t stranger;
	int status;

	right.device = &d;
	NEED(!pipe(right.go));
	/* Where it will be is known beforehand: only BAR 0's first page matters. */
	open_device(&d, 0);
	close(d.fd);
	close(d.group);
	close(d.container);
	stranger = fork();
	NEED(stranger >= 0);
	if (!stranger)
		_exit(!guesses(NULL));
	open_device(&d, 0);
	if (syscall(SYS_ioctl, d.fd, UVFIO_TRAP_MMAP, d.bar, PAGE, PROT_WRITE, &right.key) <= 0)
		CHECK(!"the runner answers the helper");
	write_register(&d, 0x24, 0x30003, 4);
	NEED(write(right.go[1], "x", 1) == 1);
	NEED(waitpid(stranger, &status, 0) == stranger);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	CHECK(read_register(&d, 0x24) == 0x30003);
	CHECK(child(inherits, NULL));
	CHECK(read_register(&d, 0x24) == 0x70007);
	/* And it ends with the device. */
	close(d.fd);
	CHECK(trap_store(&d, right.key, 0x30003) == -1 && errno == EBADF);
}

/* ---- a backend that is slow: the first device's reads take as long as is said ---- */

static void reset_first(void *arg)
{
	CHECK(!ioctl(*(int *)arg, VFIO_DEVICE_RESET));
}

static void close_first(void *arg)
{
	close(*(int *)arg);
	/* Only to meet the last close; the janitor may have been faster. */
	close(open("/dev/vfio/vfio", O_RDWR));
}

/* What a client does with its device, most of which changes config space. */
static void use_second(void *arg)
{
	struct {
		struct vfio_irq_set hdr;
		int32_t fd;
	} set = {.hdr = {.argsz = sizeof(set),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = VFIO_PCI_MSIX_IRQ_INDEX,
			 .count = 1},
		 .fd = eventfd(0, 0)};
	struct device d;

	for (unsigned i = 0; i < 2; i++) {
		open_device(&d, 1);
		enable(&d);
		CHECK(!ioctl(d.fd, VFIO_DEVICE_SET_IRQS, &set));
		CHECK(!ioctl(d.fd, VFIO_DEVICE_RESET));
		munmap(d.mem, 2 * PAGE);
		close(d.fd);
		close(d.group);
		close(d.container);
	}
}

/* While the first device waits for its backend in @fn, the second's client must not notice. */
static void while_first(void (*fn)(void *arg))
{
	struct vfio_region_info region = {.argsz = sizeof(region)};
	struct attempt bad, good;
	struct nvme_client c;
	uint64_t doorbell;
	pthread_t a, b;

	nvme_client_open(&c, names[0], false);
	nvme_client_queue(&c, 2, 0, 0, false);
	/* Not by a store to the page, which would be found some time later: the read is on its way
	 * when this returns. */
	NEED(!ioctl(c.device, VFIO_DEVICE_GET_REGION_INFO, &region));
	doorbell = region.offset + 0x1000 + 2 * c.stride;
	NEED(pwrite(c.device, &c.tail, 4, (off_t)doorbell) == 4);
	munmap((void *)c.bar, 2 * PAGE);
	a = start(&bad, fn, &c.device);
	usleep(100000); /* for it to get there; without this the test would only see less */
	b = start(&good, use_second, NULL);
	pthread_join(b, NULL);
	CHECK(!atomic_load(&bad.done) || fn == close_first);
	if (fn == reset_first)
		pthread_join(a, NULL);
}

static void reset_without_end(void)
{
	while_first(reset_first);
}

static void close_without_end(void)
{
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	while_first(close_first);
	clock_gettime(CLOCK_MONOTONIC, &to);
	CHECK(to.tv_sec - from.tv_sec < 3);
}

/* Everything a client may do to the file of a device. */
static void abused_file(void)
{
	struct device d;
	char path[32];
	int fd;

	open_device(&d, 0);
	enable(&d);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", d.fd);
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		fcntl(fd, F_SETLEASE, F_RDLCK);
		close(fd);
	}
	fcntl(d.fd, F_SETLEASE, F_WRLCK);
	fcntl(d.fd, F_SETOWN, getppid());
	fcntl(d.fd, F_SETSIG, SIGKILL);
	fcntl(d.fd, F_SETFL, O_ASYNC | O_APPEND | O_NONBLOCK);
	fcntl(d.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	fcntl(d.fd, F_SETLK, &(struct flock){.l_type = F_WRLCK});
	for (unsigned i = 0; i < 50; i++) {
		(void)!ftruncate(d.fd, i & 1 ? 0 : (off_t)(i * PAGE));
		fallocate(d.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * PAGE);
		read_register(&d, 0x1c);
		write_register(&d, 0x14, i & 1, 4);
		CHECK(!ioctl(d.fd, VFIO_DEVICE_RESET));
	}
	fchmod(d.fd, 0);
	close(d.fd);
	CHECK(!ioctl(d.group, VFIO_GROUP_UNSET_CONTAINER));
	close(d.group);
	close(d.container);
	open_device(&d, 0);
	enable(&d);
}

static const struct {
	const char *name;
	void (*fn)(void);
} attacks[] = {
	{"name-without-end", name_without_end},
	{"stalls-without-end", stalls_without_end},
	{"device-fds-without-end", device_fds_without_end},
	{"descriptors-without-end", descriptors_without_end},
	{"eventfds-without-end", eventfds_without_end},
	{"messages-without-end", messages_without_end},
	{"reset-without-end", reset_without_end},
	{"close-without-end", close_without_end},
	{"abused-file", abused_file},
	{"guessed-keys", guessed_keys},
	{"keys-of-files", keys_of_files},
	{"lying-registers", lying_registers},
	{"dies-in-a-call", dies_in_a_call},
	{"memory-held-up", memory_held_up},
};

int main(int argc, char **argv)
{
	for (unsigned i = 0; i < sizeof(attacks) / sizeof(*attacks); i++) {
		if (argc != 2 || strcmp(argv[1], attacks[i].name))
			continue;
		setvbuf(stdout, NULL, _IONBF, 0);
		attacks[i].fn();
		return failures != 0;
	}
	fprintf(stderr, "usage: hostile_client ATTACK\n");
	return 2;
}
