/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VFIO program that behaves oddly in each way that a door must bear: run by door_test.sh under
 * `uvfio run --mmio polled --device nvme,memory=16M`, as root and as an ordinary user.
 * Usage: door_client [SCRATCH-DIRECTORY], or door_client --locked with caller_caps=none
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEVICE        "0000:01:00.0"
#define PAGE          4096ul
#define CONFIG_OFFSET (7ull << 40)

static int failures, checks;

/* Values that the compiler must not warn of. */
static void *volatile bad_address = (void *)16;
static volatile int too_many = 1025;

static void check(bool ok, const char *what, long got)
{
	checks++;
	if (!ok) {
		failures++;
		printf("FAIL %s: got %ld (errno %d, %s)\n", what, got, errno, strerror(errno));
	}
}

#define IS(expr, want)                                                                             \
	do {                                                                                       \
		long got_ = (long)(expr);                                                          \
		check(got_ == (long)(want), #expr, got_);                                          \
	} while (0)
#define FAILS(expr, want)                                                                          \
	do {                                                                                       \
		errno = 0;                                                                         \
		long got_ = (long)(expr);                                                          \
		check(got_ == -1 && errno == (want), #expr " = " #want, got_);                     \
	} while (0)

static int open_container(void)
{
	return open("/dev/vfio/vfio", O_RDWR);
}

static char group_path[64];

static void find_group(void)
{
	char link[256];
	ssize_t n = readlink("/sys/bus/pci/devices/" DEVICE "/iommu_group", link, sizeof(link) - 1);

	if (n < 0) {
		perror("iommu_group");
		exit(1);
	}
	link[n] = '\0';
	snprintf(group_path, sizeof(group_path), "/dev/vfio/%s", strrchr(link, '/') + 1);
}

struct opened {
	int container, group, device;
};

/* Everything a driver opens; true when all of it worked. */
static bool open_all(struct opened *o)
{
	o->container = open_container();
	o->group = open(group_path, O_RDWR);
	if (o->container < 0 || o->group < 0)
		return false;
	if (ioctl(o->group, VFIO_GROUP_SET_CONTAINER, &o->container) ||
	    ioctl(o->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return false;
	o->device = ioctl(o->group, VFIO_GROUP_GET_DEVICE_FD, DEVICE);
	return o->device >= 0;
}

static void close_all(struct opened *o)
{
	close(o->device);
	close(o->group);
	close(o->container);
}

/* ---- identity ---- */

static void test_names(const char *scratch)
{
	char link[64], path[512], cwd[256];
	ssize_t n;
	int fd = open_container(), fd2, dir;
	struct open_how how = {.flags = O_RDWR | O_CLOEXEC};
	struct stat st;

	IS(fd >= 0, 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	link[n < 0 ? 0 : n] = '\0';
	IS(strcmp(link, "/dev/vfio/vfio"), 0);
	fd2 = open("/dev/iommu", O_RDWR);
	IS(fd2 >= 0, 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd2);
	n = readlink(path, link, sizeof(link) - 1);
	link[n < 0 ? 0 : n] = '\0';
	IS(strcmp(link, "/dev/iommu"), 0);
	close(fd2);
	IS(fcntl(fd, F_GETFD), 0);
	fd2 = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	IS(fcntl(fd2, F_GETFD), FD_CLOEXEC);
	IS(ioctl(fd2, VFIO_GET_API_VERSION), VFIO_API_VERSION);
	close(fd2);

	/* Whatever the access mode: the kernel does not look at it.  (A plain open for reading is
	 * not seen: evasive_client.c.) */
	fd2 = open("/dev/vfio/vfio", O_WRONLY);
	IS(ioctl(fd2, VFIO_GET_API_VERSION), VFIO_API_VERSION);
	IS(fcntl(fd2, F_GETFL) & O_ACCMODE, O_WRONLY);
	close(fd2);
	fd2 = open("/dev/vfio/vfio", O_ACCMODE);
	IS(ioctl(fd2, VFIO_GET_API_VERSION), VFIO_API_VERSION);
	close(fd2);
	how.flags = O_RDONLY;
	fd2 = (int)syscall(SYS_openat2, AT_FDCWD, "/dev/vfio/vfio", &how, sizeof(how));
	IS(ioctl(fd2, VFIO_GET_API_VERSION), VFIO_API_VERSION);
	IS(fcntl(fd2, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd2);
	how.flags = O_RDWR | O_CLOEXEC;

	/* Other ways to the same file. */
	IS(getcwd(cwd, sizeof(cwd)) != NULL, 1);
	dir = open("/dev", O_PATH | O_DIRECTORY);
	fd2 = openat(dir, "vfio/../vfio/./vfio", O_RDWR);
	IS(ioctl(fd2, VFIO_GET_API_VERSION), VFIO_API_VERSION);
	close(fd2);
	fd2 = (int)syscall(SYS_openat2, dir, "vfio/vfio", &how, sizeof(how));
	IS(ioctl(fd2, VFIO_GET_API_VERSION), VFIO_API_VERSION);
	close(fd2);
	close(dir);
	/* Without mounts that takes the helper. */
	if (!getenv("UVFIO_DEFAULT_CONTAINER")) {
		IS(chdir("/dev/vfio"), 0);
		fd2 = (int)syscall(SYS_open, "vfio", O_RDWR);
		IS(ioctl(fd2, VFIO_GET_API_VERSION), VFIO_API_VERSION);
		close(fd2);
		IS(chdir(cwd), 0);
	}
	snprintf(path, sizeof(path), "%s/link", scratch);
	IS(symlink("/dev/vfio/vfio", path), 0);
	fd2 = open(path, O_RDWR);
	IS(ioctl(fd2, VFIO_GET_API_VERSION), VFIO_API_VERSION);
	close(fd2);
	unlink(path);

	/* What is not ours is the kernel's. */
	FAILS(open("/dev/vfio/4711", O_RDWR), ENOENT);
	FAILS(open((const char *)16, O_RDWR), EFAULT);
	FAILS(open("", O_RDWR), ENOENT);
	snprintf(path, sizeof(path), "%s/file", scratch);
	fd2 = open(path, O_RDWR | O_CREAT | O_EXCL, 0640);
	IS(fd2 >= 0, 1);
	IS(fstat(fd2, &st), 0);
	IS(pwrite(fd2, "x", 1, 1ll << 41), 1);
	IS(pread(fd2, link, 8, 1ll << 41), 1);
	FAILS(ioctl(fd2, VFIO_GET_API_VERSION), ENOTTY);
	FAILS(ioctl(999, VFIO_GET_API_VERSION), EBADF);
	FAILS(pread(999, link, 1, 1ll << 41), EBADF);
	close(fd2);
	unlink(path);
	fd2 = memfd_create("big", 0);
	IS(ftruncate(fd2, (1ll << 41) + (off_t)PAGE), 0);
	void *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd2, 1ll << 41);
	IS(map != MAP_FAILED, 1);
	munmap(map, PAGE);
	close(fd2);
	close(fd);
}

/* Two containers are two; a closed one has gone, at once. */
static void test_lifetime(void)
{
	struct opened o, p;
	int i, fd, status;
	pid_t pid;

	for (i = 0; i < 300; i++) {
		if (!open_all(&o))
			break;
		close_all(&o);
	}
	check(i == 300, "300 times open and close at once", i);

	/* The group is exclusive, while any of its fds lives, wherever. */
	IS(open_all(&o), 1);
	FAILS(open(group_path, O_RDWR), EBUSY);
	fd = dup(o.group);
	close(o.group);
	FAILS(open(group_path, O_RDWR), EBUSY);
	o.group = fd;
	/* The device keeps the group open, as does a mapping the device. */
	void *bar = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, o.device, 16ll << 40);
	IS(bar != MAP_FAILED, 1);
	close_all(&o);
	FAILS(open(group_path, O_RDWR), EBUSY);
	munmap(bar, PAGE);
	IS(open_all(&o), 1);

	/* A child has it too, and dies with it. */
	pid = fork();
	if (!pid) {
		struct vfio_device_info info = {.argsz = sizeof(info)};

		_exit(ioctl(o.device, VFIO_DEVICE_GET_INFO, &info) ? 1 : 0);
	}
	IS(waitpid(pid, &status, 0), pid);
	IS(status, 0);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	close_all(&o);
	FAILS(open(group_path, O_RDWR), EBUSY);
	kill(pid, SIGKILL);
	IS(waitpid(pid, &status, 0), pid);
	IS(open_all(&o), 1);

	/* An fd number that is given another file is another file. */
	IS(dup2(o.container, 100), 100);
	IS(ioctl(100, VFIO_GET_API_VERSION), VFIO_API_VERSION);
	fd = open("/dev/null", O_RDWR);
	IS(dup2(fd, 100), 100);
	FAILS(ioctl(100, VFIO_GET_API_VERSION), ENOTTY);
	close(100);
	close(fd);
	p.container = open_container();
	FAILS(ioctl(o.group, VFIO_GROUP_SET_CONTAINER, &p.container), EINVAL);
	FAILS(ioctl(o.group, VFIO_GROUP_UNSET_CONTAINER), EBUSY);
	close(o.device);
	IS(ioctl(o.group, VFIO_GROUP_UNSET_CONTAINER), 0);
	fd = 1;
	FAILS(ioctl(o.group, VFIO_GROUP_SET_CONTAINER, &fd), EBADFD);
	fd = -1;
	FAILS(ioctl(o.group, VFIO_GROUP_SET_CONTAINER, &fd), EBADF);
	FAILS(ioctl(o.group, VFIO_GROUP_SET_CONTAINER, NULL), EFAULT);
	IS(ioctl(o.group, VFIO_GROUP_SET_CONTAINER, &p.container), 0);
	close(p.container);
	close(o.group);
	close(o.container);
}

/* Through a socket, and after the sender has closed its own. */
static void test_passing(void)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	int fd = open_container(), pair[2];
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	IS(sendmsg(pair[0], &msg, 0), 1);
	close(fd);
	usleep(1000); /* whatever happens on a close has the time to */
	IS(recvmsg(pair[1], &msg, 0), 1);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	IS(ioctl(fd, VFIO_GET_API_VERSION), VFIO_API_VERSION);
	close(fd);
	close(pair[0]);
	close(pair[1]);
}

/* ---- arguments ---- */

static void test_pointers(struct opened *o)
{
	char *pages =
		mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfio_device_info *info;
	char *name;

	/* Two pages, and nothing behind them; the first is inaccessible. */
	munmap(pages + 2 * PAGE, PAGE);
	mprotect(pages, PAGE, PROT_NONE);
	FAILS(ioctl(o->device, VFIO_DEVICE_GET_INFO, NULL), EFAULT);
	FAILS(ioctl(o->device, VFIO_DEVICE_GET_INFO, pages), EFAULT);
	FAILS(ioctl(o->device, VFIO_DEVICE_GET_INFO, pages + PAGE - 4), EFAULT);
	FAILS(ioctl(o->device, VFIO_DEVICE_GET_INFO, pages + 2 * PAGE - 4), EFAULT);
	FAILS(ioctl(o->device, VFIO_DEVICE_GET_INFO, (void *)-16l), EFAULT);
	FAILS(ioctl(o->device, VFIO_DEVICE_GET_INFO, 0x8000000000000000ul), EFAULT);
	info = (struct vfio_device_info *)(pages + 2 * PAGE - 16);
	info->argsz = 16;
	IS(ioctl(o->device, VFIO_DEVICE_GET_INFO, info), 0);
	IS(info->num_regions >= 9, 1);
	/* Readable, not writable: read, then fails at the answer. */
	mprotect(pages + PAGE, PAGE, PROT_READ);
	FAILS(ioctl(o->device, VFIO_DEVICE_GET_INFO, info), EFAULT);
	mprotect(pages + PAGE, PAGE, PROT_READ | PROT_WRITE);
	/* A name that ends with the page, and one that does not end. */
	name = pages + 2 * PAGE - sizeof(DEVICE);
	memcpy(name, DEVICE, sizeof(DEVICE));
	int fd = ioctl(o->group, VFIO_GROUP_GET_DEVICE_FD, name);
	IS(fd >= 0, 1);
	close(fd);
	memset(pages + PAGE, 'x', PAGE);
	FAILS(ioctl(o->group, VFIO_GROUP_GET_DEVICE_FD, pages + 2 * PAGE - 8), EFAULT);
	FAILS(ioctl(o->group, VFIO_GROUP_GET_DEVICE_FD, "0000:7f:00.0"), ENODEV);
	FAILS(ioctl(o->device, VFIO_TYPE << 8 | 99, 0), ENOTTY);
	FAILS(ioctl(o->group, VFIO_GET_API_VERSION), ENOTTY);

	/* Transfers (A.6). */
	FAILS(pread(o->device, bad_address, 4, CONFIG_OFFSET), EFAULT);
	FAILS(pwrite(o->device, pages, 4, CONFIG_OFFSET), EFAULT);
	IS(pread(o->device, pages + PAGE, 4, CONFIG_OFFSET), 4);
	IS(pread(o->device, pages + PAGE, 0, CONFIG_OFFSET), 0);
	FAILS(pread(o->device, pages + PAGE, 4, CONFIG_OFFSET + 4096), EFAULT);
	FAILS(pread(o->device, pages + PAGE, 4, 1000ll << 40), EINVAL);
	uint32_t word = 0;
	uint16_t half = 0;
	IS(pread(o->device, &word, 4, CONFIG_OFFSET), 4);
	struct iovec iov[3] = {{&half, 2}, {NULL, 0}, {&half, 2}};
	IS(preadv(o->device, iov, 3, CONFIG_OFFSET), 4);
	IS(half, word >> 16);
	IS(preadv2(o->device, iov, 3, CONFIG_OFFSET, 0), 4);
	FAILS(preadv2(o->device, iov, 3, CONFIG_OFFSET, RWF_NOWAIT), EOPNOTSUPP);
	iov[1] = (struct iovec){(void *)16, 4};
	IS(preadv(o->device, iov, 3, CONFIG_OFFSET), 2);
	FAILS(preadv(o->device, bad_address, 1, CONFIG_OFFSET), EFAULT);
	FAILS(preadv(o->device, iov, too_many, CONFIG_OFFSET), EINVAL);

	/* Mappings (A.6). */
	FAILS((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, o->device, 16ll << 40), EINVAL);
	FAILS((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, o->device, CONFIG_OFFSET), EINVAL);
	FAILS((long)mmap(NULL, 1ul << 30, PROT_READ, MAP_SHARED, o->device, 16ll << 40), EINVAL);
	munmap(pages, 2 * PAGE);
}

static void test_dma(struct opened *o)
{
	char *mem =
		mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
					       .flags = 3,
					       .vaddr = (uintptr_t)mem,
					       .iova = 1 << 20,
					       .size = 4 * PAGE};
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = 1 << 20, .size = 4 * PAGE};

	IS(ioctl(o->container, VFIO_IOMMU_MAP_DMA, &map), 0);
	FAILS(ioctl(o->container, VFIO_IOMMU_MAP_DMA, &map), EEXIST);
	IS(ioctl(o->container, VFIO_IOMMU_UNMAP_DMA, &unmap), 0);
	IS(unmap.size, 4 * PAGE);
	/* Not writable, not there. */
	mprotect(mem + 2 * PAGE, PAGE, PROT_READ);
	FAILS(ioctl(o->container, VFIO_IOMMU_MAP_DMA, &map), EFAULT);
	map.flags = VFIO_DMA_MAP_FLAG_READ;
	IS(ioctl(o->container, VFIO_IOMMU_MAP_DMA, &map), 0);
	unmap.size = 4 * PAGE;
	IS(ioctl(o->container, VFIO_IOMMU_UNMAP_DMA, &unmap), 0);
	munmap(mem + 2 * PAGE, PAGE);
	FAILS(ioctl(o->container, VFIO_IOMMU_MAP_DMA, &map), EFAULT);
	munmap(mem, 4 * PAGE);
}

/* Run with --policy caller_caps=none: locked memory is limited (D.2). */
static int test_locked_memory(void)
{
	struct rlimit limit = {4 * PAGE, 4 * PAGE};
	char *mem =
		mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
					       .flags = 3,
					       .vaddr = (uintptr_t)mem,
					       .iova = 1 << 20,
					       .size = 5 * PAGE};
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = 1 << 20, .size = 3 * PAGE};
	struct opened o;

	IS(open_all(&o), 1);
	setrlimit(RLIMIT_MEMLOCK, &limit);
	FAILS(ioctl(o.container, VFIO_IOMMU_MAP_DMA, &map), ENOMEM);
	map.size = 3 * PAGE;
	IS(ioctl(o.container, VFIO_IOMMU_MAP_DMA, &map), 0);
	map.iova = 2 << 20;
	map.size = 2 * PAGE;
	FAILS(ioctl(o.container, VFIO_IOMMU_MAP_DMA, &map), ENOMEM);
	IS(ioctl(o.container, VFIO_IOMMU_UNMAP_DMA, &unmap), 0);
	IS(ioctl(o.container, VFIO_IOMMU_MAP_DMA, &map), 0);
	close_all(&o);
	printf("%d of %d checks failed\n", failures, checks);
	return failures != 0;
}

static void test_eventfds(struct opened *o)
{
	union {
		struct vfio_irq_set hdr;
		char room[sizeof(struct vfio_irq_set) + sizeof(int32_t)];
	} set = {.hdr = {.argsz = sizeof(set),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = VFIO_PCI_MSIX_IRQ_INDEX,
			 .count = 1}};
	struct vfio_irq_set loopback = {.argsz = sizeof(loopback),
					.flags = VFIO_IRQ_SET_DATA_NONE |
						 VFIO_IRQ_SET_ACTION_TRIGGER,
					.index = VFIO_PCI_MSIX_IRQ_INDEX,
					.count = 1};
	int32_t *fd = (int32_t *)set.hdr.data;
	uint64_t count = 0;

	*fd = 1;
	FAILS(ioctl(o->device, VFIO_DEVICE_SET_IRQS, &set), EINVAL);
	*fd = 999;
	FAILS(ioctl(o->device, VFIO_DEVICE_SET_IRQS, &set), EBADF);
	*fd = eventfd(0, EFD_CLOEXEC);
	IS(ioctl(o->device, VFIO_DEVICE_SET_IRQS, &set), 0);
	IS(ioctl(o->device, VFIO_DEVICE_SET_IRQS, &loopback), 0);
	IS(read(*fd, &count, 8), 8);
	IS(count, 1);
	loopback.count = 0;
	IS(ioctl(o->device, VFIO_DEVICE_SET_IRQS, &loopback), 0);
	close(*fd);
}

/* ---- threads and signals ---- */

static atomic_bool stop;

static void *rewrite(void *arg)
{
	struct vfio_region_info *info = arg;

	while (!atomic_load(&stop)) {
		__atomic_store_n(&info->argsz, 0xffffffff, __ATOMIC_RELAXED);
		__atomic_store_n(&info->index, 0xffffffff, __ATOMIC_RELAXED);
		__atomic_store_n(&info->argsz, sizeof(*info), __ATOMIC_RELAXED);
		__atomic_store_n(&info->index, 7, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Another thread changes the argument while it is used: any answer, no harm. */
static void test_rewriting(struct opened *o)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = 7};
	pthread_t thread;
	int other = 0;

	atomic_store(&stop, false);
	pthread_create(&thread, NULL, rewrite, &info);
	for (int i = 0; i < 5000; i++) {
		if (ioctl(o->device, VFIO_DEVICE_GET_REGION_INFO, &info) && errno != EINVAL)
			other++;
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	IS(other, 0);
	info.argsz = sizeof(info);
	info.index = 7;
	IS(ioctl(o->device, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
}

static void *many(void *arg)
{
	struct opened *o = arg;
	struct vfio_device_info info = {.argsz = sizeof(info)};
	long bad = 0;

	for (int i = 0; i < 500; i++) {
		int fd = open_container();

		bad += fd < 0;
		bad += ioctl(fd, VFIO_GET_API_VERSION) != 0;
		bad += ioctl(o->device, VFIO_DEVICE_GET_INFO, &info) != 0;
		close(fd);
	}
	return (void *)bad;
}

static void test_threads(struct opened *o)
{
	pthread_t threads[16];
	long bad = 0;

	for (int i = 0; i < 16; i++)
		pthread_create(&threads[i], NULL, many, o);
	for (int i = 0; i < 16; i++) {
		void *ret;

		pthread_join(threads[i], &ret);
		bad += (long)ret;
	}
	check(bad == 0, "16 threads at once", bad);
}

/* Processes that are killed in the middle of calls. */
static void test_dying(struct opened *o)
{
	struct timespec pause_for = {0, 500000};

	for (int i = 0; i < 50; i++) {
		pid_t pid = fork();

		if (!pid) {
			struct vfio_device_info info = {.argsz = sizeof(info)};

			for (;;) {
				ioctl(o->device, VFIO_DEVICE_GET_INFO, &info);
				close(open_container());
			}
		}
		nanosleep(&pause_for, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	IS(ioctl(o->container, VFIO_GET_API_VERSION), VFIO_API_VERSION);
}

static volatile sig_atomic_t ticks;

static void tick(int sig)
{
	ticks++;
}

/* An ioctl that is carried out twice would be refused the second time (D.1). */
static void test_storm(void)
{
	struct itimerval often = {{0, 50}, {0, 50}}, never = {{0}};
	struct sigaction act = {.sa_handler = tick, .sa_flags = SA_RESTART};
	int container = open_container(), group = open(group_path, O_RDWR), bad = 0;
	int rounds = getenv("UVFIO_STORM") ? atoi(getenv("UVFIO_STORM")) / 2 : 2000;

	IS(container >= 0 && group >= 0, 1);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < rounds; i++) {
		bad += ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) != 0;
		bad += ioctl(group, VFIO_GROUP_UNSET_CONTAINER) != 0;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	check(bad == 0, "calls under a storm of signals", bad);
	IS(ticks > rounds / 100, 1);
	close(group);
	close(container);
}

/* ---- limits ---- */

static void test_limits(void)
{
	struct rlimit old, few = {64, 64};
	int fds[128], nr = 0;
	struct opened o;

	getrlimit(RLIMIT_NOFILE, &old);
	few.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_NOFILE, &few);
	while (nr < 128 && (fds[nr] = open_container()) >= 0)
		nr++;
	IS(nr < 128 && errno == EMFILE, 1);
	/* A group whose fd could not be given is not left open. */
	FAILS(open(group_path, O_RDWR), EMFILE);
	while (nr)
		close(fds[--nr]);
	setrlimit(RLIMIT_NOFILE, &old);
	IS(open_all(&o), 1);
	close_all(&o);
}

/* Many containers at once, then none. */
static void test_many(void)
{
	int fds[200], bad = 0;

	for (int i = 0; i < 200; i++)
		bad += (fds[i] = open_container()) < 0;
	for (int i = 0; i < 200; i++)
		bad += ioctl(fds[i], VFIO_GET_API_VERSION) != 0;
	for (int i = 0; i < 200; i++)
		close(fds[i]);
	check(bad == 0, "many containers", bad);
}

int main(int argc, char **argv)
{
	struct opened o;

	setvbuf(stdout, NULL, _IOLBF, 0);
	find_group();
	if (argc > 1 && !strcmp(argv[1], "--locked"))
		return test_locked_memory();
	test_names(argc > 1 ? argv[1] : "/tmp");
	test_lifetime();
	test_passing();
	IS(open_all(&o), 1);
	if (failures == 0) {
		test_pointers(&o);
		test_dma(&o);
		test_eventfds(&o);
		test_rewriting(&o);
		test_threads(&o);
		test_dying(&o);
	}
	close_all(&o);
	test_storm();
	test_limits();
	test_many();
	printf("%d of %d checks failed\n", failures, checks);
	return failures != 0;
}
