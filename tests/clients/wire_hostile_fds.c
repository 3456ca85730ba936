// SPDX-License-Identifier: BSD-3-Clause
/* Attacks with file descriptors: too many, where none belong, of the wrong kind, that change. */
#include "wire_attack.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define IOVA 0x100000ul

/* More than anybody takes, with each command, in one piece and one beside each byte. */
static void too_many(const struct victim *v)
{
	static const uint8_t zeros[32];
	int fds[WIRE_MAX_FDS];

	for (unsigned i = 0; i < WIRE_MAX_FDS; i++)
		fds[i] = 1;
	for (unsigned command = 1; command < 19; command++) {
		struct wire w;

		NEED(!attack_open(&w, v->path));
		CHECK(attack_send(&w, command, zeros, sizeof(zeros), fds, WIRE_MAX_FDS) != 0 ||
		      command == WIRE_GET_INFO);
		wire_close(&w);
	}
}

static void more_than_offered(const struct victim *v)
{
	int fds[WIRE_MAX_FDS];
	struct wire w;

	NEED(!attack_open(&w, v->path));
	NEED(w.max_fds < WIRE_MAX_FDS);
	for (unsigned i = 0; i <= w.max_fds; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	CHECK(wire_set_irqs(&w, 2, 4 | 32, 0, w.max_fds + 1, fds, w.max_fds + 1) != 0);
	wire_close(&w);
	NEED(!attack_open(&w, v->path));
	CHECK(wire_set_irqs(&w, 2, 4 | 32, 0, 1, fds, 2) < 0);
	CHECK(wire_set_irqs(&w, 2, 4 | 32, 0, 2, fds, 1) < 0);
	CHECK(wire_set_irqs(&w, 2, 1 | 32, 0, 0, NULL, 0) == -EINVAL);
	for (unsigned i = 0; i <= w.max_fds; i++)
		close(fds[i]);
	wire_close(&w);
}

static void beside_every_byte(const struct victim *v)
{
	static const struct wire_header head = {.id = 1, .command = WIRE_GET_INFO, .size = 1016};
	uint8_t bytes[1016] = {0};
	int fds[64];
	struct wire w;

	for (unsigned i = 0; i < 64; i++)
		fds[i] = 1;
	memcpy(bytes, &head, sizeof(head));
	NEED(!attack_open(&w, v->path));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		/* The server may end this at any time. */
		if (wire_send_bytes(w.fd, bytes + i, 1, fds, 64))
			break;
	}
	wire_close(&w);
}

/* Taken and dropped, or refused; never kept (the frame counts the server's descriptors). */
static void where_none_belong(const struct victim *v)
{
	static const unsigned commands[] = {
		WIRE_DMA_UNMAP,
		WIRE_GET_INFO,
		WIRE_GET_REGION_INFO,
		WIRE_GET_REGION_IO_FDS,
		WIRE_GET_IRQ_INFO,
		WIRE_REGION_READ,
		WIRE_REGION_WRITE,
		WIRE_RESET,
		WIRE_WRITE_MULTI,
		WIRE_FEATURE,
		WIRE_MIG_READ,
		WIRE_MIG_WRITE,
		WIRE_DMA_READ,
		14,
		0,
		99,
	};
	static const uint8_t zeros[32];
	int fds[2] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		for (int n = 0; n < 50; n++) {
			struct wire w;

			NEED(!attack_open(&w, v->path));
			attack_send(&w, commands[i], zeros, commands[i] == WIRE_RESET ? 0 : 32, fds,
				    2);
			if (n % 10)
				attack_answers(&w);
			wire_close(&w);
			if (n == 2)
				break;
		}
	}
	close(fds[0]);
	close(fds[1]);
}

static void beside_version(const struct victim *v)
{
	const uint16_t version[2] = {0, 1};
	int fds[3] = {0, 1, 2};
	struct wire w;

	NEED(!wire_connect(&w, v->path));
	if (!attack_send(&w, WIRE_VERSION, version, sizeof(version), fds, 3))
		CHECK(attack_answers(&w));
	wire_close(&w);
}

/* What is not memory. */
static int odd_fd(unsigned kind)
{
	int pair[2];

	switch (kind) {
	case 0:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case 1:
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return -1;
		close(pair[1]);
		return pair[0];
	case 2:
		if (pipe2(pair, O_CLOEXEC))
			return -1;
		close(pair[1]);
		return pair[0];
	case 3:
		if (pipe2(pair, O_CLOEXEC))
			return -1;
		close(pair[0]);
		return pair[1];
	case 4:
		return open("/", O_PATH | O_CLOEXEC);
	case 5:
		return epoll_create1(EPOLL_CLOEXEC);
	case 6:
		return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	case 7:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case 8:
		return open("/dev/zero", O_RDONLY | O_CLOEXEC);
	case 9:
		return open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	case 10:
		return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	case 11:
		return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	case 12:
		return open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	default:
		return -1;
	}
}
#define ODD_FDS 13

static void odd_memory(const struct victim *v)
{
	for (unsigned kind = 0; kind < ODD_FDS; kind++) {
		int fd = odd_fd(kind);
		struct wire w;
		long rc;

		if (fd < 0)
			continue;
		NEED(!attack_open(&w, v->path));
		rc = wire_map(&w, IOVA, 16 * PAGE, fd, 0);
		if (!CHECK(rc < 0))
			printf("# descriptor of kind %u was taken for memory\n", kind);
		CHECK(rc != -ECONNRESET && attack_answers(&w));
		/* Also not where it would only be read. */
		if (kind != 11) {
			const struct wire_map map = {sizeof(map), 1, 0, IOVA, PAGE};

			CHECK(wire_call(&w, WIRE_DMA_MAP, &map, sizeof(map), &fd, 1, NULL) < 0);
		}
		wire_close(&w);
		close(fd);
	}
}

static void eventfd_as_memory(const struct victim *v)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct wire w;

	NEED(!attack_open(&w, v->path));
	CHECK(wire_map(&w, IOVA, PAGE, fd, 0) < 0);
	CHECK(attack_answers(&w));
	wire_close(&w);
	close(fd);
}

static void odd_eventfds(const struct victim *v)
{
	for (unsigned kind = 0; kind < ODD_FDS + 1; kind++) {
		int fd = kind < ODD_FDS ? odd_fd(kind) : attack_memfd(PAGE);
		int good = eventfd(0, EFD_CLOEXEC), both[2] = {good, fd};
		struct wire w;

		if (fd < 0)
			continue;
		NEED(!attack_open(&w, v->path));
		for (unsigned index = 0; index < 5; index++) {
			long rc = wire_set_irqs(&w, index, 4 | 32, 0, 1, &fd, 1);

			CHECK(rc == -EINVAL || rc == -EBADF);
		}
		CHECK(wire_set_irqs(&w, 2, 4 | 32, 0, 2, both, 2) < 0);
		CHECK(wire_set_irqs(&w, 2, 1 | 32, 0, 0, NULL, 0) == -EINVAL);
		wire_close(&w);
		close(fd);
		close(good);
	}
}

static void two_for_one_mapping(const struct victim *v)
{
	const struct wire_map map = {sizeof(map), 3, 0, IOVA, PAGE};
	int fds[2] = {attack_memfd(PAGE), attack_memfd(PAGE)};
	struct wire w;

	NEED(!attack_open(&w, v->path));
	CHECK(attack_send(&w, WIRE_DMA_MAP, &map, sizeof(map), fds, 2) != 0);
	wire_close(&w);
	close(fds[0]);
	close(fds[1]);
}

static void read_only_memory_for_writing(const struct victim *v)
{
	struct wire_map map = {sizeof(map), 3, 0, IOVA, PAGE};
	int memory = attack_memfd(4 * PAGE), fd;
	char path[64];
	struct wire w;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	NEED(fd >= 0 && !attack_open(&w, v->path));
	CHECK(wire_call(&w, WIRE_DMA_MAP, &map, sizeof(map), &fd, 1, NULL) < 0);
	map.flags = 2;
	CHECK(wire_call(&w, WIRE_DMA_MAP, &map, sizeof(map), &fd, 1, NULL) < 0);
	map.flags = 1;
	CHECK(wire_call(&w, WIRE_DMA_MAP, &map, sizeof(map), &fd, 1, NULL) == 0);
	wire_close(&w);
	close(fd);
	close(memory);
}

static void sealed_memory_for_writing(const struct victim *v)
{
	static const int seals[] = {F_SEAL_WRITE, F_SEAL_FUTURE_WRITE};

	for (size_t i = 0; i < 2; i++) {
		const struct wire_map map = {sizeof(map), 3, 0, IOVA, PAGE};
		int fd = attack_memfd(4 * PAGE);
		struct wire w;

		NEED(fd >= 0 && !fcntl(fd, F_ADD_SEALS, seals[i]) && !attack_open(&w, v->path));
		CHECK(wire_call(&w, WIRE_DMA_MAP, &map, sizeof(map), &fd, 1, NULL) < 0);
		CHECK(attack_answers(&w));
		wire_close(&w);
		close(fd);
	}
}

/* Beyond the end of its file there is no memory: at once, or when the device goes there. */
static void short_memory(const struct victim *v)
{
	int fd = attack_memfd(PAGE);
	struct wire w;
	long rc;

	NEED(fd >= 0 && !attack_open(&w, v->path));
	rc = wire_map(&w, IOVA, 16 * PAGE, fd, 0);
	if (!rc) {
		/* Submission queue inside, completion queue outside. */
		CHECK(!wire_nvme_enable(&w, IOVA));
		CHECK(!wire_nvme_ring(&w, 3));
	}
	CHECK(attack_answers(&w));
	wire_close(&w);
	NEED(!attack_open(&w, v->path));
	CHECK(wire_map(&w, IOVA, PAGE, fd, 1ull << 40) < 0 || attack_answers(&w));
	CHECK(wire_map(&w, 2 * IOVA, PAGE, fd, -PAGE) < 0);
	CHECK(wire_map(&w, 3 * IOVA, PAGE, fd, 512) < 0);
	CHECK(attack_answers(&w));
	wire_close(&w);
	close(fd);
}

/* The memory is taken away while the device uses it. */
static void truncated_memory(const struct victim *v)
{
	for (int i = 0; i < 8; i++) {
		int fd = attack_memfd(16 * PAGE);
		struct wire w;

		NEED(fd >= 0 && !attack_open(&w, v->path));
		NEED(!wire_map(&w, IOVA, 16 * PAGE, fd, 0));
		NEED(!wire_nvme_enable(&w, IOVA));
		if (i & 1)
			CHECK(!wire_nvme_ring(&w, 2));
		CHECK(!ftruncate(fd, i & 2 ? 0 : PAGE));
		for (unsigned k = 0; k < 10; k++)
			CHECK(!wire_nvme_ring(&w, (k + 3) & 15));
		if (i & 4)
			CHECK(!ftruncate(fd, 16 * PAGE));
		CHECK(attack_answers(&w));
		CHECK(!wire_reset(&w));
		wire_close(&w);
		close(fd);
	}
}

/* The connection itself as a descriptor: nobody but the kernel's collector can free the circle. */
static void own_socket(const struct victim *v)
{
	struct wire w;

	NEED(!attack_open(&w, v->path));
	CHECK(wire_map(&w, IOVA, PAGE, w.fd, 0) < 0);
	wire_send(&w, WIRE_GET_INFO, 0, (uint32_t[4]){16}, 16, &w.fd, 1);
	wire_close(&w);
}

/* An eventfd that is full blocks whoever signals it, if he lets it. */
static void full_eventfd(const struct victim *v)
{
	const uint64_t full = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_CLOEXEC);
	struct wire w;

	NEED(fd >= 0 && write(fd, &full, sizeof(full)) == sizeof(full));
	NEED(!attack_open(&w, v->path));
	CHECK(!wire_set_irqs(&w, 2, 4 | 32, 0, 1, &fd, 1));
	for (int i = 0; i < 10; i++)
		CHECK(!wire_set_irqs(&w, 2, 1 | 32, 0, 1, NULL, 0));
	attack_others_live(v);
	CHECK(attack_answers(&w));
	wire_close(&w);
	close(fd);
}

static void semaphore_eventfd(const struct victim *v)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	uint64_t count = 0;
	struct wire w;

	NEED(!attack_open(&w, v->path));
	CHECK(!wire_set_irqs(&w, 2, 4 | 32, 0, 1, &fd, 1));
	CHECK(!wire_set_irqs(&w, 2, 1 | 32, 0, 1, NULL, 0));
	CHECK(read(fd, &count, sizeof(count)) == sizeof(count) && count == 1);
	wire_close(&w);
	close(fd);
}

const struct attack attacks_fds[] = {
	{"too many descriptors", too_many},
	{"one descriptor more than offered", more_than_offered},
	{"descriptors beside every byte", beside_every_byte},
	{"descriptors where none belong", where_none_belong},
	{"descriptors beside VERSION", beside_version},
	{"memory that is none", odd_memory},
	{"an eventfd for memory", eventfd_as_memory},
	{"eventfds that are none", odd_eventfds},
	{"two descriptors for one mapping", two_for_one_mapping},
	{"read-only memory for writing", read_only_memory_for_writing},
	{"sealed memory for writing", sealed_memory_for_writing},
	{"memory shorter than its mapping", short_memory},
	{"memory truncated in use", truncated_memory},
	{"the connection as a descriptor", own_socket},
	{"a full eventfd", full_eventfd},
	{"a semaphore for an eventfd", semaphore_eventfd},
	{"memory in a file system that does not answer", NULL,
	 "needs a FUSE mount: tests/unit/stall_test.c has the core's part"},
	{0},
};
