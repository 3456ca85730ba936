/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests of connections that are handed over share: a client whose servers take turns. */
#ifndef TESTS_UNIT_HANDOVER_UTIL_H
#define TESTS_UNIT_HANDOVER_UTIL_H

#include "wire_util.h"
#include <sched.h>
#include "devices/pcitest/pcitest_spec.h"
#include "irq/irq.h"
#include "support/handed.h"
#include "vfio/machine_private.h"
#include "wire/handover_private.h"
#include "wire/wire_private.h"

#define SPEC    "pcitest,memory=64K,vectors=8"
#define TWIN    "{\"capabilities\":{\"max_msg_fds\":1,\"twin_socket\":{\"supported\":true}}}"
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER
#define UNMASK  VFIO_IRQ_SET_ACTION_UNMASK

struct pair {
	struct handed_side *from, *to; /* who has the client; who has it next */
	int fd, dma;                   /* the client's sockets; the same, or the second one */
	struct wire_handed handed;
	struct uvfio_error err;
	struct reply r;
	/* What is reached by messages. */
	uint8_t *memory;
	uint64_t memory_at, memory_size;
	bool old_layout;
};

/* A client of @side, with VERSION 0.@minor. */
static inline int client_of(struct handed_side *side, uint16_t minor, const char *json,
			    struct reply *r)
{
	uint8_t buf[4096] = {0};
	const struct vfio_user_version v = {0, minor};
	size_t len = json ? strlen(json) + 1 : 0;
	int fd = handed_connect(side);

	memcpy(buf, &v, sizeof(v));
	if (json)
		memcpy(buf + sizeof(v), json, len);
	assert_int_equal(client_call(fd, VFIO_USER_VERSION, buf, sizeof(v) + len, NULL, 0, r), 0);
	return fd;
}

static inline void pair_up_with(struct pair *p, uint16_t minor, const char *json)
{
	guarded();
	memset(p, 0, sizeof(*p));
	p->from = malloc(sizeof(*p->from));
	p->to = malloc(sizeof(*p->to));
	assert_true(p->from && p->to);
	handed_up(p->from, SPEC);
	handed_up(p->to, SPEC);
	p->fd = client_of(p->from, minor, json, &p->r);
	p->dma = p->r.fd >= 0 ? p->r.fd : p->fd;
}

static inline void pair_up(struct pair *p)
{
	pair_up_with(p, 1, NULL);
}

static inline void pair_down(struct pair *p)
{
	if (p->dma != p->fd)
		close(p->dma);
	close(p->fd);
	handed_down(p->from);
	handed_down(p->to);
	free(p->from);
	free(p->to);
}

/* ->handed becomes the other one's, and this one ends. */
static inline void pair_take(struct pair *p)
{
	struct handed_side *from = p->from;

	if (handed_take(p->to, from, p->handed.bytes, p->handed.len, p->handed.fds,
			p->handed.nr_fds, &p->err))
		fail_msg("%s", p->err.msg);
	for (unsigned i = 0; i < p->handed.nr_fds; i++)
		if (p->handed.fds[i] >= 0)
			close(p->handed.fds[i]);
	p->handed.nr_fds = 0;
	wire_handed_fini(&p->handed);
	handed_dies(from);
	handed_go_on(p->to);
	p->from = p->to;
	p->to = from;
}

static inline void pair_hand(struct pair *p)
{
	if (handed_give(p->from, &p->handed, &p->err))
		fail_msg("%s", p->err.msg);
	pair_take(p);
}

static inline void assert_says(const struct pair *p, const char *what)
{
	if (!strstr(p->err.msg, what))
		fail_msg("\"%s\" does not say \"%s\"", p->err.msg, what);
}

/* ---- what a server knows ---- */

static inline void info(struct handed_side *side, struct wire_connection_info *out)
{
	assert_int_equal(wire_connections(side->server, out, 1), 1);
}

static inline uint64_t nr_messages(struct handed_side *side)
{
	struct wire_connection_info now;

	info(side, &now);
	return now.messages;
}

static inline uint64_t bytes_in(struct handed_side *side)
{
	struct wire_connection_info now;

	info(side, &now);
	return now.bytes_in;
}

static inline int server_socket(struct handed_side *side)
{
	return side->listener->active->stream.fd;
}

/* Has it output that the client does not take? */
static inline bool is_full(struct handed_side *side)
{
	return atomic_load(&side->listener->active->stream.want_write);
}

static inline struct irq_set *irqs_of(struct handed_side *side)
{
	return vfio_device_irqs(side->dev);
}

/* A register of its device, without its client. */
static inline uint32_t read_register(struct handed_side *side, uint64_t off)
{
	return (uint32_t)uvfio_reg_get((struct uvfio_device *)side->dev, 0, off, 4);
}

/* ---- the client ---- */

static inline uint32_t get32(struct pair *p, unsigned region, uint64_t off)
{
	uint32_t value = 0;

	assert_int_equal(client_read(p->fd, region, off, &value, 4), 0);
	return value;
}

static inline uint64_t get64(struct pair *p, uint64_t off)
{
	uint64_t value = 0;

	assert_int_equal(client_read(p->fd, 0, off, &value, 8), 0);
	return value;
}

/* Answer a DMA message, as QEMU does: the messages of both layouts are 32 bytes and the data. */
static inline void answer(struct pair *p, const struct reply *q)
{
	static uint8_t out[32 + WDEV_DATA];
	struct vfio_user_header hdr = q->hdr;
	uint32_t at = p->old_layout ? 28 : 32, count;
	uint64_t address;

	memcpy(&address, q->payload, 8);
	memcpy(&count, q->payload + 8, 4);
	assert_true(p->memory && address >= p->memory_at &&
		    address + count <= p->memory_at + p->memory_size);
	memset(out, 0, sizeof(out));
	memcpy(out + 16, q->payload, 16);
	hdr.flags = VFIO_USER_TYPE_REPLY;
	if (hdr.command == VFIO_USER_DMA_READ) {
		hdr.size = 32 + count;
		memcpy(out + at, p->memory + (address - p->memory_at), count);
	} else {
		hdr.size = 16;
		memcpy(p->memory + (address - p->memory_at), q->payload + at - 16, count);
	}
	memcpy(out, &hdr, sizeof(hdr));
	send_fds(p->dma, out, hdr.size, NULL, 0);
}

/* Answer until the device has ended @count commands. */
static inline void serve(struct pair *p, uint32_t count)
{
	const struct vfio_user_region_access a = {PCITEST_DMA_COUNT, 0, 4};
	static struct reply q;
	uint32_t value = 0;

	while (value < count) {
		client_send(p->fd, 7, VFIO_USER_REGION_READ, 0, &a, sizeof(a), NULL, 0);
		for (;;) {
			struct pollfd both[2] = {{p->fd, POLLIN, 0}, {p->dma, POLLIN, 0}};

			assert_true(poll(both, 2, -1) > 0);
			assert_int_equal(client_receive(both[1].revents ? p->dma : p->fd, &q), 0);
			if (vfio_user_is_reply(&q.hdr))
				break;
			answer(p, &q);
		}
		memcpy(&value, q.payload + sizeof(a), 4);
	}
}

/* Move @len bytes between @iova and the start of BAR 2: 0 or an errno. */
static inline int dma_len(struct pair *p, uint64_t iova, uint32_t len, uint32_t command)
{
	uint32_t count = client_get(p->fd, PCITEST_DMA_COUNT);

	client_enable(p->fd);
	client_put(p->fd, PCITEST_DMA_ADDRESS, iova, 8);
	client_put(p->fd, PCITEST_DMA_LENGTH, len, 4);
	client_put(p->fd, PCITEST_DMA_BUFFER, 0, 4);
	/* Its answer may come behind the questions: posted. */
	client_post(p->fd, 0, PCITEST_DMA_COMMAND, &command, 4, VFIO_USER_NO_REPLY);
	serve(p, count + 1);
	return (int)client_get(p->fd, PCITEST_DMA_ERROR);
}

static inline int dma(struct pair *p, uint64_t iova, uint32_t command)
{
	return dma_len(p, iova, 4096, command);
}

/* SET_IRQS with eventfds; without: of one that has none. */
static inline void send_eventfds(struct pair *p, uint16_t id, unsigned index, uint32_t action,
				 unsigned start, const int *fds, unsigned nr)
{
	const struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | action,
		.index = index,
		.start = start,
		.count = nr,
	};

	client_send(p->fd, id, VFIO_USER_DEVICE_SET_IRQS, 0, &set, sizeof(set), fds, fds ? nr : 0);
}

static inline int set_eventfds(struct pair *p, unsigned index, uint32_t action, unsigned start,
			       const int *fds, unsigned nr)
{
	send_eventfds(p, 4711, index, action, start, fds, nr);
	assert_int_equal(client_receive(p->fd, &p->r), 0);
	assert_int_equal(p->r.hdr.id, 4711);
	return (int)p->r.hdr.error;
}

static inline uint64_t taken(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* A file that has no name, on a disk. */
static inline int scratch_file(void)
{
	char name[] = "/tmp/uvfio-handover.XXXXXX";
	int fd = mkstemp(name);

	assert_true(fd >= 0 && !unlink(name));
	return fd;
}

#endif
