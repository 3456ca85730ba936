/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile vfio-user client: the input is a program of messages, right and wrong, with their
 * descriptors, of bytes, and of answers to the server's own commands, played to a server in this
 * process that has an NVMe controller.  With -DWIRE_STREAM the input is what the client sends, byte
 * by byte, VERSION included: the decoder rather than the commands.
 *
 * What must hold: the server answers only what was asked, in the form that the protocol gives; a
 * connection that is ended ends; a new client is served and finds a freshly reset device; and no
 * descriptor is left open.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "devices/nvme/nvme_model.h"
#include "input.h"
#include "support/wire_client.h"
#include "wire/wire.h"

#define IOVA    0x100000u
#define PAGES   64u
#define PAGE    4096u
#define CONFIG  7u
#define SECONDS 20 /* after which a wait for the server counts as a hang */

/* The server, made once; the descriptors that inputs send. */
static struct wire_listener *listener;
static struct wire_server *server;
static int fds[8];

static void make_server(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct wire_options options;
	struct vfio_policy policy;
	struct vfio_machine *machine;
	struct uvfio_error err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	vfio_policy_default(&policy);
	machine = vfio_machine_new(&policy, NULL, &err);
	CHECK(machine && !vfio_machine_add_model(machine, &nvme_model));
	CHECK(!vfio_machine_add_device(machine, "nvme,memory=1M", &err));
	server = wire_server_new(machine, NULL, &err);
	CHECK(server);
	/* An abstract name of the kernel's choice: inputs come through wire_adopt(). */
	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&addr, sizeof(addr.sun_family)) &&
	      !listen(fd, 1));
	wire_options_default(&options);
	options.handshake_ms = 0;
	options.spin_us = 0;
	CHECK(!wire_listen(server, "0000:01:00.0", fd, &options, &listener, &err));
	fds[0] = memfd_create("fuzz", MFD_CLOEXEC);
	CHECK(fds[0] >= 0 && !ftruncate(fds[0], PAGES * PAGE));
	fds[1] = memfd_create("short", MFD_CLOEXEC);
	CHECK(fds[1] >= 0 && !ftruncate(fds[1], PAGE));
	fds[2] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fds[3] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fds[4] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[5] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds[6] = open("/", O_PATH | O_CLOEXEC);
	fds[7] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static bool late(time_t since)
{
	return time(NULL) - since > SECONDS;
}

static int adopt(void)
{
	int pair[2], size = 1 << 16;

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	CHECK(!wire_adopt(listener, pair[1]));
	return pair[0];
}

/* ---- the client ------------------------------------------------------------------------------ */

struct client {
	struct wire w;
	bool ended;
	struct input *in;
	uint32_t outstanding; /* requests without an answer yet */
};

static void answer_dma(struct client *c, const struct wire_message *m)
{
	static const uint8_t zeros[1 << 20];
	struct wire_message lie = *m;
	struct wire_dma dma;

	CHECK(m->len >= sizeof(dma));
	memcpy(&dma, m->data, sizeof(dma));
	CHECK(dma.count && dma.count <= sizeof(zeros));
	CHECK(m->len == sizeof(dma) + (m->head.command == WIRE_DMA_WRITE ? dma.count : 0));
	switch (take(c->in, 1) % 8) {
	case 0: /* none */
		return;
	case 1:
		wire_dma_answer(&c->w, m, EFAULT, NULL);
		return;
	case 2:
		lie.head.id = (uint16_t)take(c->in, 2);
		wire_dma_answer(&c->w, &lie, 0, zeros);
		return;
	case 3:
		wire_dma_answer(&c->w, m, 0, zeros);
		wire_dma_answer(&c->w, m, 0, zeros);
		return;
	case 4: {
		uint8_t bytes[64] = {0};
		size_t n = take(c->in, 1) % 48;
		struct wire_header head = {m->head.id, m->head.command, (uint32_t)(16 + n),
					   WIRE_REPLY, 0};

		memcpy(bytes, &head, 16);
		for (size_t i = 0; i < n; i++)
			bytes[16 + i] = (uint8_t)take(c->in, 1);
		wire_send_bytes(c->w.fd, bytes, 16 + n, NULL, 0);
		return;
	}
	default: {
		/* Data of the input's, so that the controller finds commands in it. */
		uint8_t data[4096] = {0};
		uint8_t *copy = NULL;

		for (size_t i = 0; i < 64 && i < dma.count; i++)
			data[i] = (uint8_t)take(c->in, 1);
		if (dma.count > sizeof(data))
			copy = calloc(1, dma.count);
		wire_dma_answer(&c->w, m, 0, copy ? copy : data);
		free(copy);
	}
	}
}

/* One message from the server, if there is one or @wait says so; checks its form. */
static bool receive(struct client *c, int wait)
{
	struct wire_message m;
	int rc;

	rc = wire_receive(c->w.fd, &m, wait);
	if (rc == -ETIMEDOUT) {
		CHECK(!wait);
		return false;
	}
	CHECK(rc != -EPROTO);
	if (rc) {
		c->ended = true;
		return false;
	}
	CHECK((m.head.flags & ~(WIRE_TYPE | WIRE_NO_REPLY | WIRE_ERROR)) == 0);
	if ((m.head.flags & WIRE_TYPE) == WIRE_REPLY) {
#ifndef WIRE_STREAM
		CHECK(c->outstanding);
		c->outstanding--;
#endif
		if (m.head.flags & WIRE_ERROR)
			CHECK(m.len == 0);
		else
			CHECK(m.head.error == 0);
	} else {
		CHECK(m.head.flags == WIRE_COMMAND);
		CHECK(m.head.command == WIRE_DMA_READ || m.head.command == WIRE_DMA_WRITE);
		answer_dma(c, &m);
	}
	wire_drop(&m);
	return true;
}

#ifndef WIRE_STREAM
static uint64_t take_offset(struct input *in)
{
	switch (take(in, 1) % 8) {
	case 0:
		return (uint64_t)take(in, 4) << 32 | take(in, 4);
	case 1:
		return -(uint64_t)take(in, 2);
	case 2:
		return take(in, 4);
	default:
		return take(in, 2);
	}
}

static void drain(struct client *c)
{
	while (!c->ended && receive(c, 0))
		;
}

static void send_message(struct client *c, unsigned command, uint32_t flags, const void *data,
			 size_t n, const int *send, unsigned nfds)
{
	if (c->ended)
		return;
	if (wire_send(&c->w, command, flags, data, n, send, nfds)) {
		c->ended = true;
		return;
	}
	/* A reply to something that is none is no harm here: at most one for each message. */
	c->outstanding++;
	drain(c);
}

static unsigned take_fds(struct input *in, int send[4])
{
	uint32_t what = take(in, 1);
	unsigned n = what % 4;

	for (unsigned i = 0; i < n; i++)
		send[i] = fds[((what >> 2) + i) & 7];
	return n;
}

static void any_message(struct client *c)
{
	unsigned command = take(c->in, 1) % 24, flags = take(c->in, 1);
	size_t n = take(c->in, 1) % 160;
	uint8_t data[160];
	int send[4];
	unsigned nfds = take_fds(c->in, send);

	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)take(c->in, 1);
	send_message(c, command, flags & 0x80 ? flags & 0x3f : flags & WIRE_NO_REPLY, data, n, send,
		     nfds);
}

static void map(struct client *c)
{
	struct wire_map m = {sizeof(m), 3, 0, 0, PAGE};
	uint32_t how = take(c->in, 1);
	int send[4];
	unsigned nfds;

	m.flags = how & 0x80 ? take(c->in, 1) : 3;
	m.address = how & 0x40 ? take_offset(c->in) : IOVA + (how & 15) * PAGE;
	m.size = how & 0x20 ? take_offset(c->in) : (uint64_t)(take(c->in, 1) % 17) * PAGE;
	m.offset = how & 0x10 ? take_offset(c->in) : (uint64_t)(take(c->in, 1) % PAGES) * PAGE;
	nfds = take_fds(c->in, send);
	if (how & 1)
		nfds = 0;
	send_message(c, WIRE_DMA_MAP, 0, &m, sizeof(m), send, nfds);
}

static void unmap(struct client *c)
{
	struct wire_unmap m = {sizeof(m), 0, 0, 0};
	uint32_t how = take(c->in, 1);

	m.flags = how & 0x80 ? 2 : how & 0x40 ? take(c->in, 1) : 0;
	m.address = how & 0x20 ? take_offset(c->in) : how & 0x80 ? 0 : IOVA + (how & 15) * PAGE;
	m.size = how & 0x10   ? take_offset(c->in)
		 : how & 0x80 ? 0
			      : (uint64_t)(take(c->in, 1) % 33) * PAGE;
	send_message(c, WIRE_DMA_UNMAP, 0, &m, sizeof(m), NULL, 0);
}

static void access_region(struct client *c, bool write)
{
	uint32_t how = take(c->in, 1);
	struct {
		struct wire_access access;
		uint8_t data[64];
	} m = {0};
	size_t n = sizeof(m.access);

	m.access.region = how & 0x80 ? take(c->in, 4) : how & 1 ? CONFIG : how & 2 ? 8 : 0;
	m.access.offset = take_offset(c->in);
	m.access.count = how & 0x40 ? take(c->in, 4) : how & 0x20 ? take(c->in, 1) % 65 : 4;
	if (write) {
		size_t len = m.access.count <= 64 ? m.access.count : 64;

		for (size_t i = 0; i < len; i++)
			m.data[i] = (uint8_t)take(c->in, 1);
		n += len;
	}
	send_message(c, write ? WIRE_REGION_WRITE : WIRE_REGION_READ,
		     how & 0x10 && write ? WIRE_NO_REPLY : 0, &m, n, NULL, 0);
}

static void set_irqs(struct client *c)
{
	struct {
		struct wire_irq_set set;
		uint8_t data[16];
	} m = {0};
	uint32_t how = take(c->in, 1);
	int send[4];
	unsigned nfds = take_fds(c->in, send);
	size_t n = sizeof(m.set) + (how & 1 ? take(c->in, 1) % 17 : 0);

	m.set.flags = take(c->in, 1);
	m.set.index = take(c->in, 1) % 6;
	m.set.start = how & 2 ? take(c->in, 4) : take(c->in, 1) % 8;
	m.set.count = how & 4 ? take(c->in, 4) : how & 8 ? nfds : take(c->in, 1) % 8;
	m.set.argsz = how & 16 ? take(c->in, 4) : (uint32_t)n;
	for (size_t i = 0; i < 16; i++)
		m.data[i] = (uint8_t)take(c->in, 1);
	send_message(c, WIRE_SET_IRQS, 0, &m, n, send, nfds);
}

/* The registers in the order that brings a controller up, with queues in any mapping. */
static void enable(struct client *c)
{
	static const struct {
		uint16_t region, offset, size;
	} steps[] = {{CONFIG, 4, 2}, {0, 0x24, 4}, {0, 0x28, 8}, {0, 0x30, 8}, {0, 0x14, 4}};
	const uint64_t page = IOVA + (take(c->in, 1) & 15) * PAGE;
	const uint64_t values[] = {6, 15u << 16 | 15, page, page + PAGE, 4 << 20 | 6 << 16 | 1};

	for (unsigned i = 0; i < 5; i++) {
		struct {
			struct wire_access access;
			uint64_t value;
		} m = {{steps[i].offset, steps[i].region, steps[i].size}, values[i]};

		send_message(c, WIRE_REGION_WRITE, 0, &m, sizeof(m.access) + steps[i].size, NULL,
			     0);
	}
}

static void ring(struct client *c)
{
	const struct {
		struct wire_access access;
		uint32_t value;
	} __attribute__((packed))
	m = {{0x1000 + (take(c->in, 1) % 4) * 4, 0, 4}, take(c->in, 1) & 15};

	send_message(c, WIRE_REGION_WRITE, 0, &m, sizeof(m), NULL, 0);
}

static void feature(struct client *c)
{
	uint32_t m[16] = {0}, how = take(c->in, 1);
	size_t n = 8 + take(c->in, 1) % 57;

	m[0] = how & 0x80 ? take(c->in, 4) : (uint32_t)n;
	m[1] = (how & 0x40 ? take(c->in, 2) : how & 15) | (take(c->in, 1) & 7u) << 16;
	for (unsigned i = 2; i < 16; i++)
		m[i] = take(c->in, 1);
	send_message(c, WIRE_FEATURE, 0, m, n, NULL, 0);
}

static void play(struct client *c)
{
	static const char *const versions[] = {
		NULL,
		"{\"capabilities\":{\"max_msg_fds\":8,\"write_multiple\":true}}",
		"{\"capabilities\":{\"max_data_xfer_size\":64}}",
		"{\"capabilities\":{\"max_data_xfer_size\":0}}",
	};
	static const uint8_t kinds[] = {0, 0, 1, 2, 3, 4, 4, 4, 5, 6, 6, 7, 7, 8, 9, 10};

	{
		const char *json = versions[take(c->in, 1) % 4];
		uint8_t payload[128] = {0, 0, 1, 0};
		size_t n = json ? strlen(json) + 1 : 0;

		if (json)
			memcpy(payload + 4, json, n);
		send_message(c, WIRE_VERSION, 0, payload, 4 + n, NULL, 0);
	}
	while (c->in->left && !c->ended) {
		switch (kinds[take(c->in, 1) % sizeof(kinds)]) {
		case 0:
			any_message(c);
			break;
		case 1:
			map(c);
			break;
		case 2:
			unmap(c);
			break;
		case 3:
			access_region(c, false);
			break;
		case 4:
			access_region(c, true);
			break;
		case 5:
			set_irqs(c);
			break;
		case 6:
			enable(c);
			break;
		case 7:
			ring(c);
			break;
		case 8:
			feature(c);
			break;
		case 9:
			send_message(c, WIRE_RESET, 0, NULL, 0, NULL, 0);
			break;
		default:
			/* Wait for whatever comes of the last message. */
			if (c->outstanding == 1 && !c->ended) {
				struct pollfd pfd = {.fd = c->w.fd, .events = POLLIN};

				poll(&pfd, 1, 20);
			}
			drain(c);
		}
	}
}
#else
static void play(struct client *c)
{
	/* In up to three pieces. */
	size_t first = take(c->in, 1), second = take(c->in, 1) * 4, n = c->in->left;
	size_t cut[4] = {0, first < n ? first : n, 0, n};

	cut[2] = cut[1] + second < n ? cut[1] + second : n;
	for (unsigned i = 0; i < 3; i++) {
		if (cut[i + 1] > cut[i] &&
		    wire_send_bytes(c->w.fd, c->in->p + cut[i], cut[i + 1] - cut[i], fds, i == 1))
			return;
	}
	c->in->left = 0;
}
#endif

/* ---- after it -------------------------------------------------------------------------------- */

static void expect_fresh(void)
{
	time_t since = time(NULL);
	uint16_t command = 0xffff;
	uint32_t enabled = ~0u;
	struct wire w;
	int rc;

	for (;;) {
		memset(&w, 0, sizeof(w));
		w.fd = adopt();
		w.twin = -1;
		rc = wire_version(&w, 1, NULL);
		if (rc != -EBUSY)
			break;
		close(w.fd);
		CHECK(!late(since));
		sched_yield();
	}
	CHECK(!rc);
	CHECK(wire_read(&w, CONFIG, 4, &command, 2) == 2 && !(command & 4));
	CHECK(wire_read(&w, 0, 0x14, &enabled, 4) == 4 && !(enabled & 1));
	close(w.fd);
}

static void all_gone(void)
{
	time_t since = time(NULL);

	while (wire_connections(server, NULL, 0)) {
		CHECK(!late(since));
		sched_yield();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static int before = -1;
	struct input in = {data, len};
	struct client c = {.in = &in};
	time_t since;

	if (!listener) {
		make_server();
		expect_fresh();
		all_gone();
		before = lowest_free_fd();
	}
	c.w.fd = adopt();
	c.w.twin = -1;
	play(&c);
	/* It reads our end, and ends too; what it still has to say is well-formed. */
	shutdown(c.w.fd, SHUT_WR);
	while (!c.ended)
		receive(&c, SECONDS * 1000);
	close(c.w.fd);
	expect_fresh();
	all_gone();
	since = time(NULL);
	while (lowest_free_fd() > before) {
		if (late(since)) {
			system("ls -l /proc/$PPID/fd >&2");
			fprintf(stderr, "descriptor %d was free, and is not\n", before);
			abort();
		}
		sched_yield();
	}
	before = lowest_free_fd();
	return 0;
}
