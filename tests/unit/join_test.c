/* SPDX-License-Identifier: BSD-3-Clause */
/* src/join: a runner that does not keep to the protocol, dies or says nothing; a server that lies.
 */
#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include "join_fixture.h"
#include "stalling_file.h"
#include "join/guest.h"
#include "vfio/observe.h"

#define IOVA 0x40000000ull

/* ---- the server's half ---- */

static void test_malformed(void **state)
{
	const struct join_head late = {.kind = JOIN_ANSWER}, unknown = {.kind = JOIN_CALLS};
	struct join_head longer = {.kind = JOIN_HELLO, .arg = {JOIN_VERSION}, .len = 1};
	struct join_head fds = {.kind = JOIN_HELLO, .arg = {JOIN_VERSION}, .fds = 1};
	const void *const bad[] = {&late, &unknown, &longer, &fds};
	struct joined j;

	join_open(&j);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int sock = connect_host(j.host);

		assert_int_equal(send(sock, bad[i], sizeof(struct join_head), 0),
				 sizeof(struct join_head));
		expect_end(sock);
		close(sock);
	}
	for (size_t len = 1; len < sizeof(struct join_head); len += 7) {
		int sock = connect_host(j.host);

		send(sock, &longer, len, 0);
		expect_end(sock);
		close(sock);
	}
	/* Nobody else noticed. */
	assert_int_equal(
		call(j.sock, (struct join_head){.kind = JOIN_HELLO, .arg = {JOIN_VERSION}}), 0);
	assert_int_equal(
		call(j.sock, (struct join_head){.kind = JOIN_HELLO, .arg = {JOIN_VERSION + 1}}),
		-EPROTO);
	join_close(&j);
}

static void test_not_a_channel(void **state)
{
	struct uvfio_error err = {""};
	struct joined j;
	int pair[2];

	join_open(&j);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(join_host_connect(j.host, pair[1], 0, &err), -EINVAL);
	assert_int_equal(join_host_connect(j.host, eventfd(0, 0), 0, &err), -EINVAL);
	post(j.sock, (struct join_head){.kind = JOIN_CHANNEL}, NULL, 0, pair[0]);
	expect(j.sock, JOIN_DONE);
	assert_int_equal(packet.head.value, -EINVAL);
	assert_int_equal(call(j.sock, (struct join_head){.kind = JOIN_CHANNEL}), -EBADF);
	close(pair[0]);
	join_close(&j);
}

static void test_handles(void **state)
{
	static const uint32_t wrong[] = {0, 2, JOIN_OBJECTS, JOIN_OBJECTS + 1, UINT32_MAX};
	struct joined j;
	int64_t container;
	int other;

	join_open(&j);
	container = call(j.sock, (struct join_head){.kind = JOIN_CONTAINER_OPEN});
	assert_int_equal(container, 1);
	for (unsigned kind = JOIN_CONTAINER_IOCTL; kind <= JOIN_RELEASE; kind++) {
		if (kind == JOIN_GROUP_OPEN)
			continue;
		for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
			assert_int_equal(
				call(j.sock, (struct join_head){.kind = kind, .handle = wrong[i]}),
				-EBADF);
		/* Of another kind. */
		if (kind != JOIN_CONTAINER_IOCTL && kind != JOIN_RELEASE)
			assert_int_equal(
				call(j.sock, (struct join_head){.kind = kind, .handle = 1}),
				-EBADF);
	}
	/* Another connection's. */
	other = connect_host(j.host);
	assert_int_equal(call(other, (struct join_head){.kind = JOIN_RELEASE, .handle = 1}),
			 -EBADF);
	close(other);
	assert_int_equal(call(j.sock, (struct join_head){.kind = JOIN_RELEASE, .handle = 1}), 0);
	assert_int_equal(call(j.sock, (struct join_head){.kind = JOIN_RELEASE, .handle = 1}),
			 -EBADF);
	join_close(&j);
}

static void test_limits(void **state)
{
	int ends[JOIN_CHANNELS], pair[2];
	struct joined j;

	join_open(&j);
	for (unsigned i = 0; i < JOIN_OBJECTS; i++)
		assert_int_equal(call(j.sock, (struct join_head){.kind = JOIN_CONTAINER_OPEN}),
				 i + 1);
	assert_int_equal(call(j.sock, (struct join_head){.kind = JOIN_CONTAINER_OPEN}), -ENFILE);
	for (unsigned i = 1; i <= JOIN_CHANNELS; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
		post(j.sock, (struct join_head){.kind = JOIN_CHANNEL}, NULL, 0, pair[1]);
		expect(j.sock, JOIN_DONE);
		assert_int_equal(packet.head.value, i < JOIN_CHANNELS ? 0 : -EUSERS);
		close(pair[1]);
		ends[i - 1] = pair[0];
	}
	/* They end with the first one. */
	close(j.sock);
	j.sock = -1;
	for (unsigned i = 0; i < JOIN_CHANNELS; i++) {
		expect_end(ends[i]);
		close(ends[i]);
	}
	join_close(&j);
}

/* An ioctl on @handle whose argument is @req, and what it says.  The one question but for @req's
 * bytes is @question, with @want in argument @arg of it; the answer is @answer and @fd. */
static int64_t asking_ioctl(int sock, struct join_head call, const void *req, size_t len,
			    uint32_t question, unsigned arg, uint64_t want, const void *answer,
			    size_t answer_len, int fd)
{
	post(sock, call, NULL, 0, -1);
	for (;;) {
		assert_int_equal(join_receive(sock, &packet), 0);
		join_packet_close(&packet);
		if (packet.head.kind == JOIN_DONE)
			return packet.head.value;
		if (packet.head.kind == JOIN_ASK_FROM) {
			uint64_t at = packet.head.arg[0] - 64;

			assert_true(at + packet.head.arg[1] <= len);
			post(sock, (struct join_head){.kind = JOIN_ANSWER}, (const char *)req + at,
			     packet.head.arg[1], -1);
			continue;
		}
		assert_int_equal(packet.head.kind, question);
		assert_int_equal(packet.head.arg[arg], want);
		post(sock, (struct join_head){.kind = JOIN_ANSWER}, answer, answer_len, fd);
	}
}

/* Ask for a mapping of @size bytes and answer with @piece and @fd; what MAP_DMA says. */
static int64_t map(int sock, uint32_t container, uint64_t size, const struct join_piece *piece,
		   int fd)
{
	const struct vfio_iommu_type1_dma_map req = {
		.argsz = sizeof(req),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = 0x10000,
		.iova = IOVA,
		.size = size,
	};

	return asking_ioctl(sock,
			    (struct join_head){.kind = JOIN_CONTAINER_IOCTL,
					       .handle = container,
					       .arg = {1, VFIO_IOMMU_MAP_DMA, 64}},
			    &req, sizeof(req), JOIN_ASK_IMPORT, 1, size, piece, sizeof(*piece), fd);
}

static void test_import(void **state)
{
	const struct join_piece good = {.kind = IOMMU_MEM_FILE, .offset = 0, .len = 8192};
	int memfd = memfd_create("memory", MFD_ALLOW_SEALING), pipes[2], sealed;
	struct join_piece bad;
	uint32_t container;
	struct joined j;

	join_open(&j);
	open_group(j.sock, 1, &container);
	assert_int_equal(ftruncate(memfd, 8192), 0);
	assert_int_equal(pipe(pipes), 0);
	sealed = memfd_create("sealed", MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(sealed, 8192), 0);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);

	/* What is no memory. */
	assert_int_equal(map(j.sock, container, 8192, &good, pipes[0]), -EFAULT);
	assert_int_equal(map(j.sock, container, 8192, &good, sealed), -EFAULT);
	bad = good;
	bad.kind = IOMMU_MEM_PROCESS; /* a memory file is no /proc/PID/mem */
	assert_int_equal(map(j.sock, container, 8192, &bad, memfd), -EFAULT);
	bad.kind = IOMMU_MEM_PEER;
	assert_int_equal(map(j.sock, container, 8192, &bad, memfd), -EFAULT);
	/* Numbers that make no sense. */
	bad = good;
	bad.fd = 1;
	assert_int_equal(map(j.sock, container, 8192, &bad, memfd), -EFAULT);
	bad = good;
	bad.offset = 512;
	assert_int_equal(map(j.sock, container, 8192, &bad, memfd), -EFAULT);
	bad = good;
	bad.offset = -4096ull;
	assert_int_equal(map(j.sock, container, 8192, &bad, memfd), -EFAULT);
	bad = good;
	bad.len = 4096; /* less than the mapping */
	assert_true(map(j.sock, container, 8192, &bad, memfd) < 0);
	/* And what does. */
	assert_int_equal(map(j.sock, container, 8192, &good, memfd), 0);
	assert_int_equal(map(j.sock, container, 8192, &good, memfd), -EEXIST);
	close(sealed);
	close(pipes[0]);
	close(pipes[1]);
	close(memfd);
	join_close(&j);
}

/* The server's threads run only when nobody else does: who is woken by an answer goes first. */
static void server_last(void)
{
	const struct sched_param param = {0};
	struct dirent *entry;
	char path[300], comm[32];
	DIR *dir = opendir("/proc/self/task");
	unsigned found = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) && !strcmp(comm, "uvfio-join\n")) {
			assert_int_equal(
				sched_setscheduler(atoi(entry->d_name), SCHED_IDLE, &param), 0);
			found++;
		}
		fclose(f);
	}
	closedir(dir);
	assert_int_equal(found, 1);
}

/* A file that came along is let go of before the answer: who closes it then has closed it. */
static void test_let_go(void **state)
{
	const struct join_piece piece = {.kind = IOMMU_MEM_FILE, .offset = 0, .len = 8192};
	uint32_t container;
	cpu_set_t all, one;
	struct joined j;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	join_open(&j);
	open_group(j.sock, 1, &container);
	server_last();
	for (unsigned i = 0; i < 200; i++) {
		int memfd = memfd_create("sealed", MFD_ALLOW_SEALING), fd, probe;
		char path[32];

		assert_int_equal(fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE), 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
		fd = open(path, O_RDWR); /* what leases look for */
		probe = open(path, O_RDONLY);
		assert_true(fd >= 0 && probe >= 0);
		close(memfd);
		assert_int_not_equal(fcntl(probe, F_SETLEASE, F_WRLCK), 0);
		assert_int_equal(map(j.sock, container, 8192, &piece, fd), -EFAULT);
		close(fd);
		assert_int_equal(fcntl(probe, F_SETLEASE, F_WRLCK), 0);
		close(probe);
	}
	join_close(&j);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

/* SET_IRQS with one eventfd, for which @fd comes; what it says. */
static int64_t trigger(int sock, uint32_t device, int fd)
{
	struct {
		struct vfio_irq_set set;
		int32_t fd;
	} req = {.set = {.argsz = sizeof(req),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = VFIO_PCI_MSIX_IRQ_INDEX,
			 .count = 1},
		 .fd = 5};

	return asking_ioctl(sock,
			    (struct join_head){.kind = JOIN_DEVICE_IOCTL,
					       .handle = device,
					       .arg = {1, VFIO_DEVICE_SET_IRQS, 64}},
			    &req, sizeof(req), JOIN_ASK_EVENTFD, 0, 5, NULL, 0, fd);
}

static void test_eventfd(void **state)
{
	int event = eventfd(0, EFD_CLOEXEC), memfd = memfd_create("none", 0);
	uint32_t device;
	struct joined j;

	join_open(&j);
	device = open_device(j.sock, open_group(j.sock, 1, NULL), "0000:01:00.0");
	assert_int_equal(trigger(j.sock, device, memfd), -EBADF);
	assert_int_equal(trigger(j.sock, device, -1), -EBADF);
	assert_int_equal(trigger(j.sock, device, event), 0);
	close(memfd);
	close(event);
	join_close(&j);
}

/* Wait until group @number of the machine can be had. */
static void await_group(struct vfio_machine *machine, unsigned number)
{
	struct vfio_group_file *group;
	int ret;

	while ((ret = vfio_group_open(machine, number, &group)) == -EBUSY)
		sched_yield();
	assert_int_equal(ret, 0);
	vfio_group_release(group);
}

static void test_death(void **state)
{
	struct vfio_group_file *group;
	uint32_t device, container;
	struct joined j;
	int other;

	join_open(&j);
	device = open_device(j.sock, open_group(j.sock, 1, &container), "0000:01:00.0");
	assert_int_equal(call(j.sock, (struct join_head){.kind = JOIN_DEVICE_STORE,
							 .handle = device,
							 .arg = {VFIO_REGION_OFFSET(0), 3, 0}}),
			 -EINVAL);
	/* Somebody else, meanwhile. */
	other = connect_host(j.host);
	assert_int_equal(call(other, (struct join_head){.kind = JOIN_GROUP_OPEN, .arg = {1}}),
			 -EBUSY);
	assert_int_equal(vfio_group_open(j.f.machine, 1, &group), -EBUSY);
	/* It dies in the middle of a question. */
	post(j.sock,
	     (struct join_head){.kind = JOIN_DEVICE_IOCTL,
				.handle = device,
				.arg = {1, VFIO_DEVICE_GET_INFO, 64}},
	     NULL, 0, -1);
	expect(j.sock, JOIN_ASK_FROM);
	/* While that is not answered, another connection gets what it asks for. */
	open_device(other, open_group(other, 2, NULL), "0000:02:00.0");
	close(j.sock);
	await_group(j.f.machine, 1);
	assert_true(call(other, (struct join_head){.kind = JOIN_GROUP_OPEN, .arg = {1}}) > 0);
	/* The other one never answers again: the host ends all the same. */
	post(other,
	     (struct join_head){.kind = JOIN_CONTAINER_IOCTL,
				.handle = 1,
				.arg = {1, VFIO_IOMMU_GET_INFO, 64}},
	     NULL, 0, -1);
	expect(other, JOIN_ASK_FROM);
	j.sock = other;
	join_host_free(j.host);
	j.host = NULL;
	await_group(j.f.machine, 1);
	await_group(j.f.machine, 2);
	join_close(&j);
}

/* Its files do not let go, nor do they say anything: the next one has the device all the same. */
static void test_stalling_files(void **state)
{
	const struct join_piece piece = {.kind = IOMMU_MEM_FILE, .offset = 0, .len = 8192};
	struct join_piece process = piece;
	struct stalling_file *stalling = stalling_file_make(65536, true);
	uint32_t device, container;
	struct joined j;
	struct stat st;
	int file;

	if (!stalling)
		skip();
	file = open(stalling->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fstat(file, &st), 0);
	process.kind = IOMMU_MEM_PROCESS;
	process.id = 77;
	join_open(&j);
	device = open_device(j.sock, open_group(j.sock, 1, &container), "0000:01:00.0");
	assert_int_equal(trigger(j.sock, device, file), -EBADF);
	assert_int_equal(map(j.sock, container, 8192, &piece, file), 0);
	assert_int_equal(map(j.sock, container, 8192, &process, file), -EEXIST);
	stalling_file_wait(stalling);
	close(j.sock);
	await_group(j.f.machine, 1);
	j.sock = connect_host(j.host);
	open_device(j.sock, open_group(j.sock, 1, NULL), "0000:01:00.0");
	stalling_file_go(stalling);
	close(file);
	join_close(&j);
	stalling_file_free(stalling);
}

/* ---- the runner's half ---- */

/* Answers to HELLO, and to LIST until there are no more. */
struct liar {
	int sock;
	struct {
		struct join_head head;
		uint8_t data[sizeof(struct join_hello) + 2 * sizeof(struct uapi_device)];
		size_t len;
	} says[3];
};

static void *lie(void *arg)
{
	static struct join_packet in;
	struct liar *liar = arg;

	for (unsigned i = 0; i < 3 && !join_receive(liar->sock, &in); i++)
		join_send(liar->sock, &liar->says[i].head, liar->says[i].data, liar->says[i].len,
			  NULL, 0);
	return NULL;
}

/* Does a runner join a server that says this? */
static bool believed(struct liar *liar, struct uvfio_log *log)
{
	struct uvfio_error err = {""};
	struct uapi_core *core;
	pthread_t thread;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	liar->sock = pair[1];
	assert_int_equal(pthread_create(&thread, NULL, lie, liar), 0);
	core = join_guest_new(pair[0], "m", log, &err);
	if (core)
		core->ops->free(core);
	else
		close(pair[0]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	close(pair[1]);
	assert_true(core || err.msg[0]);
	return core != NULL;
}

static void test_lies(void **state)
{
	struct uvfio_log *log = uvfio_log_new(-1, UVFIO_LOG_ERROR);
	struct join_hello hello = {.version = JOIN_VERSION};
	struct uapi_device dev = {.name = "0000:01:00.0", .config_size = 4096};
	struct liar good = {0}, liar;

	vfio_policy_default(&hello.policy);
	for (unsigned i = 0; i < 3; i++)
		good.says[i].head.kind = JOIN_DONE;
	memcpy(good.says[0].data, &hello, sizeof(hello));
	good.says[0].len = sizeof(hello);
	memcpy(good.says[1].data, &dev, sizeof(dev));
	good.says[1].head.value = 1;
	good.says[1].len = sizeof(dev);
	liar = good;
	assert_true(believed(&liar, log));
	liar.says[0].head.kind = JOIN_ASK_FROM; /* nobody has asked on anybody's behalf */
	assert_false(believed(&liar, log));
	liar = good;
	liar.says[0].head.value = -EPROTO;
	assert_false(believed(&liar, log));
	liar = good;
	liar.says[0].len++;
	assert_false(believed(&liar, log));
	liar = good;
	liar.says[0].len--;
	assert_false(believed(&liar, log));
	liar = good;
	liar.says[1].len--;
	assert_false(believed(&liar, log));
	liar = good;
	liar.says[1].head.value = 2;
	assert_false(believed(&liar, log));
	liar.says[1].head.value = INT64_MAX;
	assert_false(believed(&liar, log));
	liar.says[1].head.value = -EIO;
	assert_false(believed(&liar, log));
	liar = good;
	memset(dev.pf, 'f', sizeof(dev.pf));
	memcpy(liar.says[1].data, &dev, sizeof(dev));
	assert_false(believed(&liar, log));
	dev.pf[0] = '\0';
	dev.config_size = 65536;
	memcpy(liar.says[1].data, &dev, sizeof(dev));
	assert_false(believed(&liar, log));
	dev.config_size = 256;
	strcpy(dev.name, "../../../etc");
	memcpy(liar.says[1].data, &dev, sizeof(dev));
	assert_false(believed(&liar, log));
	uvfio_log_free(log);
}

static void test_both(void **state)
{
	struct uvfio_error err = {""};
	struct core_container *container;
	struct core_group *group, *second;
	struct uapi_core *core;
	struct joined j;
	uint8_t config[PCI_EXT_CONFIG_SIZE];

	join_open(&j);
	core = join_guest_new(j.sock, "m", j.log, &err);
	assert_non_null(core);
	assert_int_equal(core->nr_devices, 2);
	assert_string_equal(core->devices[1].name, "0000:02:00.0");
	assert_int_equal(core->devices[0].bars[0].size, 16384);
	assert_true(core->ops->hw_config(core, &core->devices[0], config, true));
	assert_int_equal(config[0] | config[1] << 8, 0x1b36);
	assert_int_equal(core->ops->container_open(core, &container), 0);
	assert_int_equal(core->ops->group_open(core, 1, &group), 0);
	assert_int_equal(core->ops->group_open(core, 1, &second), -EBUSY);
	assert_int_equal(core->ops->group_open(core, 9, &second), -ENODEV);
	assert_int_equal(core->ops->group_set_container(core, group, container), 0);
	assert_int_equal(core->ops->group_unset_container(core, group), 0);
	/* The server ends. */
	join_host_free(j.host);
	j.host = NULL;
	assert_int_equal(core->ops->group_open(core, 2, &second), -EIO);
	core->ops->group_release(core, group);
	core->ops->container_release(core, container);
	core->ops->free(core);
	j.sock = -1;
	join_close(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed),      cmocka_unit_test(test_not_a_channel),
		cmocka_unit_test(test_handles),        cmocka_unit_test(test_limits),
		cmocka_unit_test(test_import),         cmocka_unit_test(test_let_go),
		cmocka_unit_test(test_eventfd),        cmocka_unit_test(test_death),
		cmocka_unit_test(test_stalling_files), cmocka_unit_test(test_lies),
		cmocka_unit_test(test_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
