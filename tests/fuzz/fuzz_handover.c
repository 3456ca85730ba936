/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile record of a connection that one server hands to another (src/wire/takeover.c): the
 * input is a program that changes a good record, which has one of everything, and its descriptors;
 * or it is the record itself.
 *
 * What must hold: what is refused has a reason, and nothing of it reaches the client, whose server
 * goes on; what is taken is served, or its connection ends; and no descriptor is left open.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "input.h"
#include "support/handed.h"
#include "support/wire_client.h"
#include "wire/wire_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IOVA    0x100000u
#define SIZE    0x10000u
#define ROOM    8192u
#define FDS     32u
#define CONFIG  7u
#define SECONDS 20 /* after which a wait for the server counts as a hang */

static struct handed_side *from, *to;
static struct wire client;
static struct wire_handed good[2]; /* with MSI-X and a second socket; with the pin */
static int odd[6];

/* ---- a client with one of everything ---- */

static uint64_t messages(void)
{
	struct wire_connection_info info;

	return wire_connections(from->server, &info, 1) ? info.messages : 0;
}

static uint64_t bytes_in(void)
{
	struct wire_connection_info info;

	return wire_connections(from->server, &info, 1) ? info.bytes_in : 0;
}

static void make_good(bool pin, struct wire_handed *out)
{
	const struct wire_map map = {sizeof(map), 3, 0, IOVA + SIZE, SIZE};
	const struct wire_header half = {77, WIRE_DMA_MAP, 48, 0, 0};
	const char *json =
		"{\"capabilities\":{\"max_msg_fds\":1,\"twin_socket\":{\"supported\":true}}}";
	int mem = memfd_create("fuzz", MFD_CLOEXEC), fds[3];
	const uint32_t trigger = 0x24, unmask = 0x14;
	struct uvfio_error err = {""};
	uint16_t command = 6;
	uint64_t before, bytes;

	CHECK(mem >= 0 && !ftruncate(mem, SIZE));
	for (unsigned i = 0; i < 3; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	memset(&client, 0, sizeof(client));
	client.fd = handed_connect(from);
	client.twin = -1;
	CHECK(!wire_version(&client, 1, pin ? NULL : json));
	CHECK(wire_write(&client, CONFIG, 4, &command, 2) == 2);
	CHECK(!wire_map(&client, IOVA, SIZE, mem, 0));
	CHECK(!wire_map(&client, IOVA + 2 * SIZE, SIZE, -1, 0));
	if (pin) {
		CHECK(!wire_set_irqs(&client, 0, trigger, 0, 1, fds, 1));
		CHECK(!wire_set_irqs(&client, 0, unmask, 0, 1, fds + 1, 1));
	} else {
		CHECK(!wire_set_irqs(&client, 2, trigger, 0, 3, fds, 3));
	}
	before = messages();
	bytes = bytes_in();
	CHECK(!handed_freeze(from, &err));
	CHECK(!wire_send(&client, WIRE_DMA_MAP, 0, &map, sizeof(map), &mem, 1));
	CHECK(!wire_send_bytes(client.fd, &half, sizeof(half), &mem, 1));
	while (messages() < before + 1 || bytes_in() < bytes + 64)
		sched_yield();
	handed_pause(from);
	CHECK(!handed_give(from, out, &err));
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
	close(mem);
}

static void set_up(void)
{
	from = malloc(sizeof(*from));
	to = malloc(sizeof(*to));
	CHECK(from && to);
	handed_up(from, "pcitest,memory=4K");
	handed_up(to, "pcitest,memory=4K");
	make_good(true, &good[1]);
	handed_back(from);
	close(client.fd);
	if (client.twin >= 0)
		close(client.twin);
	handed_alone(from);
	/* This one stays as it is: its client is asked after each input. */
	make_good(false, &good[0]);
	odd[0] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	odd[1] = open("/", O_PATH | O_CLOEXEC);
	odd[2] = open("/dev/null", O_RDWR | O_CLOEXEC);
	odd[3] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	odd[4] = memfd_create("short", MFD_CLOEXEC);
	odd[5] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* ---- a record ---- */

struct record {
	uint8_t bytes[ROOM];
	size_t len;
	int fds[FDS];
	unsigned nr_fds;
	int end, twin_end; /* the client's; the second one or -1 */
};

/* The descriptors of @which, with new sockets in front. */
static void take_good(struct record *r, unsigned which)
{
	const struct wire_handed *g = &good[which];
	int pair[2];

	CHECK(g->len <= ROOM && g->nr_fds <= FDS);
	memcpy(r->bytes, g->bytes, g->len);
	r->len = g->len;
	r->nr_fds = g->nr_fds;
	r->twin_end = -1;
	for (unsigned i = 0; i < g->nr_fds; i++) {
		if (i < 2 - which) {
			CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
					  pair));
			r->fds[i] = pair[0];
			*(i ? &r->twin_end : &r->end) = pair[1];
		} else {
			r->fds[i] = fcntl(g->fds[i], F_DUPFD_CLOEXEC, 3);
		}
	}
}

static uint64_t value_of(struct input *in)
{
	static const uint64_t values[] = {
		0,        1,          2,    3,        4,     16,         253,        254,
		255,      4095,       4096, 0x7fff,   65535, 65536,      1048576,    0x10003f,
		0x100040, 0x7fffffff, ~0u,  1u << 31, ~0ull, 1ull << 32, 1ull << 63, ~0ull - 4095};
	uint8_t which = (uint8_t)take(in, 1);

	return which < 0xc0 ? values[which % (sizeof(values) / sizeof(values[0]))]
			    : (uint64_t)take(in, 4) << 32 | take(in, 4);
}

static void put(struct record *r, size_t at, uint64_t value, unsigned width)
{
	for (unsigned i = 0; i < width && at + i < r->len; i++)
		r->bytes[at + i] = (uint8_t)(value >> 8 * i);
}

static void change_fds(struct record *r, struct input *in)
{
	unsigned how = (unsigned)take(in, 1), i, j;
	int fd;

	if (!r->nr_fds)
		return;
	i = (how >> 3) % r->nr_fds;
	j = (unsigned)take(in, 1);
	switch (how & 3) {
	case 0: /* not there */
		close(r->fds[i]);
		memmove(&r->fds[i], &r->fds[i + 1], (--r->nr_fds - i) * sizeof(int));
		break;
	case 1: /* another one */
		close(r->fds[i]);
		r->fds[i] = fcntl(odd[j % 6], F_DUPFD_CLOEXEC, 3);
		break;
	case 2:
		j %= r->nr_fds;
		fd = r->fds[i];
		r->fds[i] = r->fds[j];
		r->fds[j] = fd;
		break;
	default: /* one more */
		if (r->nr_fds < FDS)
			r->fds[r->nr_fds++] = fcntl(odd[j % 6], F_DUPFD_CLOEXEC, 3);
	}
}

static void change(struct record *r, struct input *in)
{
	unsigned op = (unsigned)take(in, 1) % 16;
	size_t at = r->len ? take(in, 2) % r->len : 0, n;

	switch (op) {
	default:
		put(r, at, value_of(in), 1u << take(in, 1) % 4);
		return;
	case 9: /* a little off */
		put(r, at, r->bytes[at] + (take(in, 1) & 1 ? 1u : 255u), 1);
		return;
	case 10:
		r->len = at;
		return;
	case 11: /* a piece is missing */
		n = take(in, 1) % 64;
		n = n < r->len - at ? n : r->len - at;
		memmove(r->bytes + at, r->bytes + at + n, r->len - at - n);
		r->len -= n;
		return;
	case 12: /* a piece is there twice */
		n = take(in, 1) % 64;
		if (n > r->len - at || r->len + n > ROOM)
			return;
		memmove(r->bytes + at + n, r->bytes + at, r->len - at);
		r->len += n;
		return;
	case 13: /* elsewhere */
		for (n = take(in, 1) % 32; n && r->len; n--)
			r->bytes[take(in, 2) % r->len] = (uint8_t)take(in, 1);
		return;
	case 14:
	case 15:
		change_fds(r, in);
	}
}

/* ---- what comes of it ---- */

/* Until it ends; it may say well-formed things first. */
static void drain(int fd)
{
	struct wire_message m;
	int ret;

	while (!(ret = wire_receive(fd, &m, SECONDS * 1000))) {
		CHECK((m.head.flags & WIRE_TYPE) <= WIRE_REPLY);
		wire_drop(&m);
	}
	CHECK(ret == -ECONNRESET);
}

static void served(struct record *r)
{
	const struct wire_map rest = {sizeof(rest), 3, 0, IOVA + 3 * SIZE, SIZE};

	handed_go_on(to);
	wire_send_bytes(r->end, &rest, sizeof(rest), NULL, 0);
	shutdown(r->end, SHUT_WR);
	drain(r->end);
}

static void old_one_goes_on(void)
{
	struct wire_connection_info info;
	uint8_t byte;

	CHECK(wire_connections(from->server, &info, 1) == 1);
	/* Neither an end nor a word. */
	CHECK(recv(client.fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct record r;
	static int before = -1;
	struct input in = {data, size};
	struct uvfio_error err = {""};
	time_t since;
	uint8_t how;
	int ret;

	if (!from) {
		set_up();
		before = lowest_free_fd();
	}
	how = (uint8_t)take(&in, 1);
	take_good(&r, how & 1);
	if (how & 2) { /* the bytes behind the version are all the input's */
		r.len = 4 + in.left < ROOM ? 4 + in.left : ROOM;
		memcpy(r.bytes + 4, in.p, r.len - 4);
	} else {
		for (unsigned n = 1 + (how >> 2) % 8; n; n--)
			change(&r, &in);
	}
	ret = handed_take(to, from, r.bytes, r.len, r.fds, r.nr_fds, &err);
	if (ret)
		CHECK(ret < 0 && err.msg[0]);
	else
		served(&r);
	for (unsigned i = 0; i < r.nr_fds; i++)
		if (r.fds[i] >= 0)
			close(r.fds[i]);
	close(r.end);
	if (r.twin_end >= 0)
		close(r.twin_end);
	handed_alone(to);
	old_one_goes_on();
	since = time(NULL);
	while (lowest_free_fd() > before) {
		CHECK(time(NULL) - since <= SECONDS);
		sched_yield();
	}
	return 0;
}
