/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/wire/takeover.c: what is no connection that was handed over is refused, with the reason, and
 * who has handed it over goes on.
 */
#include "handover_util.h"
#include <time.h>

#define IOVA    0x5a5a00000ull
#define SIZE    65536u
#define SECONDS 60 /* after which a wait counts as a hang */

/* A connection that has one of everything, and the record of it. */
struct rich {
	struct pair p;
	int mem, event, unmask;
};

static void rich_up(struct rich *r)
{
	const struct vfio_user_dma_map map = {sizeof(map), 3, 0, IOVA + SIZE, SIZE};
	const struct vfio_user_header half = {77, VFIO_USER_DMA_MAP, 48, 0, 0};
	uint64_t messages, bytes;
	struct pair *p = &r->p;
	int pin;

	pair_up_with(p, 1, TWIN);
	r->mem = memfd_create("memory", MFD_CLOEXEC);
	r->event = eventfd(0, EFD_NONBLOCK);
	r->unmask = eventfd(0, EFD_NONBLOCK);
	pin = eventfd(0, EFD_NONBLOCK);
	assert_true(r->mem >= 0 && !ftruncate(r->mem, SIZE));
	client_enable(p->fd);
	client_put(p->fd, PCITEST_SCRATCH, 0x77, 8);
	assert_int_equal(client_map(p->fd, IOVA, SIZE, r->mem, 0), 0);
	assert_int_equal(client_map(p->fd, IOVA + 2 * SIZE, SIZE, -1, 0), 0);
	assert_int_equal(set_eventfds(p, VFIO_PCI_INTX_IRQ_INDEX, TRIGGER, 0, &pin, 1), 0);
	assert_int_equal(set_eventfds(p, VFIO_PCI_INTX_IRQ_INDEX, UNMASK, 0, &r->unmask, 1), 0);
	close(pin);
	messages = nr_messages(p->from);
	bytes = bytes_in(p->from);
	assert_int_equal(handed_freeze(p->from, &p->err), 0);
	client_send(p->fd, 1, VFIO_USER_DMA_MAP, 0, &map, sizeof(map), &r->mem, 1);
	send_fds(p->fd, &half, sizeof(half), &r->mem, 1);
	while (nr_messages(p->from) < messages + 1 || bytes_in(p->from) < bytes + 64)
		sched_yield();
	handed_pause(p->from);
	assert_int_equal(handed_give(p->from, &p->handed, &p->err), 0);
}

/* It goes on where it was, whatever the other one made of it. */
static void rich_down(struct rich *r)
{
	const struct vfio_user_dma_map rest = {sizeof(rest), 3, 0, IOVA + 3 * SIZE, SIZE};
	struct pair *p = &r->p;

	wire_handed_fini(&p->handed);
	handed_back(p->from);
	send_fds(p->fd, &rest, sizeof(rest), NULL, 0);
	for (unsigned id = 1; id <= 77; id += 76) {
		assert_int_equal(client_receive(p->fd, &p->r), 0);
		assert_int_equal(p->r.hdr.id, id);
		assert_int_equal(p->r.hdr.error, 0);
	}
	assert_int_equal(get64(p, PCITEST_SCRATCH), 0x77);
	close(r->mem);
	close(r->event);
	close(r->unmask);
	pair_down(p);
}

/* Hand @len bytes of @bytes over with copies of the descriptors, of which @without is none and
 * @other, if it is not -1, is in the place of @instead. */
struct attempt {
	const void *bytes;
	size_t len;
	int without;
	int instead, other;
};

static int try(struct rich *r, const struct attempt *a)
{
	struct pair *p = &r->p;
	unsigned nr = p->handed.nr_fds;
	int fds[16], ret;

	assert_true(nr <= 16);
	for (unsigned i = 0; i < nr; i++)
		fds[i] = fcntl(p->handed.fds[i], F_DUPFD_CLOEXEC, 3);
	if (a->without >= 0) {
		close(fds[a->without]);
		memmove(&fds[a->without], &fds[a->without + 1],
			(--nr - (unsigned)a->without) * sizeof(*fds));
	}
	if (a->other >= 0) {
		close(fds[a->instead]);
		fds[a->instead] = fcntl(a->other, F_DUPFD_CLOEXEC, 3);
	}
	p->err.msg[0] = '\0';
	ret = handed_take(p->to, p->from, a->bytes, a->len, fds, nr, &p->err);
	for (unsigned i = 0; i < nr; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return ret;
}

static void assert_refused(struct rich *r, const struct attempt *a, const char *why)
{
	int ret = try(r, a);

	if (!ret)
		fail_msg("it was taken: %s", why);
	assert_says(&r->p, why);
}

static void whole(struct rich *r, struct attempt *a)
{
	*a = (struct attempt){r->p.handed.bytes, r->p.handed.len, -1, 0, -1};
}

/* The number of descriptors that are open here. */
static unsigned open_fds(void)
{
	unsigned nr = 0;

	for (int fd = 0; fd < 1024; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

/* As many are open as before, once all that has gone is gone. */
static void await_fds(unsigned before, unsigned number)
{
	const time_t since = time(NULL);

	while (open_fds() != before) {
		if (time(NULL) - since > SECONDS)
			fail_msg("%u descriptors were open before case %u, and are %u now", before,
				 number, open_fds());
		sched_yield();
	}
}

/* Every beginning of it, and one that goes on behind its end. */
static void cut_anywhere(void **state)
{
	struct attempt a;
	struct rich r;
	uint8_t *longer;
	unsigned before;

	rich_up(&r);
	whole(&r, &a);
	before = open_fds();
	for (a.len = 0; a.len < r.p.handed.len; a.len += a.len < 120 ? 12 : 5)
		assert_refused(&r, &a, "");
	longer = malloc(r.p.handed.len + 1);
	assert_non_null(longer);
	memcpy(longer, a.bytes, r.p.handed.len);
	longer[r.p.handed.len] = 0;
	a.bytes = longer;
	a.len = r.p.handed.len + 1;
	assert_refused(&r, &a, "it is cut, or goes on");
	free(longer);
	await_fds(before, 0);
	rich_down(&r);
}

/* Where @value is in the record; it is there once, or this is the first of them. */
static uint8_t *find(struct rich *r, uint8_t *bytes, const void *value, size_t len)
{
	uint8_t *at = memmem(bytes, r->p.handed.len, value, len);

	assert_non_null(at);
	return at;
}

static void put32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

/* Places in the record: its head, the first mapping, the pin's eventfd, the command, what came in.
 */
enum place { HEAD, MAPPING, EVENTFD, COMMAND, INPUT };

static uint8_t *place_of(struct rich *r, uint8_t *bytes, enum place place)
{
	const uint64_t iova = IOVA;
	const uint32_t eventfd[3] = {1, VFIO_PCI_INTX_IRQ_INDEX, 0};
	const struct vfio_user_header command = {1, VFIO_USER_DMA_MAP, 48, 0, 0};
	const struct vfio_user_header half = {77, VFIO_USER_DMA_MAP, 48, 0, 0};
	uint8_t *commands;

	switch (place) {
	case MAPPING: /* IOVA, size, offset, protection, descriptor */
		return find(r, bytes, &iova, sizeof(iova));
	case EVENTFD: /* 1, index, vector, descriptor; behind the mappings */
		commands = find(r, bytes, &command, sizeof(command));
		for (uint8_t *at = commands; at > bytes; at--)
			if (!memcmp(at, eventfd, sizeof(eventfd)))
				return at;
		fail();
		return NULL;
	case COMMAND: /* the message; whether it had too many descriptors, how many, and these */
		return find(r, bytes, &command, sizeof(command));
	case INPUT: /* its bytes, behind their number; where descriptors came, too many, how many */
		return find(r, bytes, &half, sizeof(half));
	default:
		return bytes;
	}
}

static void wrong_values(void **state)
{
	static const struct {
		enum place place;
		int offset;
		uint32_t value;
		const char *why;
	} cases[] = {
		{HEAD, 0, 0, "a version that this server does not know"},
		{HEAD, 0, HANDOVER_VERSION + 1, "a version that this server does not know"},
		{HEAD, 4, 2, "VERSION cannot have agreed"},
		{HEAD, 4, 0x10001, "VERSION cannot have agreed"},
		{HEAD, 8, 7, "VERSION cannot have agreed"},
		{HEAD, 8, WIRE_XFER_MAX + 1, "VERSION cannot have agreed"},
		{HEAD, 12, 254, "VERSION cannot have agreed"},
		{HEAD, 16, ~0u, "VERSION cannot have agreed"},
		{HEAD, 20, 3, "VERSION cannot have agreed"},
		/* The mapping: of IOVA, of its size, beyond its file, without rights, with others,
		 * of no file. */
		{MAPPING, 0, 1, "cannot be mapped again"},
		{MAPPING, 8, 0, "cannot be mapped again"},
		{MAPPING, 12, ~0u, "cannot be mapped again"},
		{MAPPING, 16, 4096, "cannot be mapped again"},
		{MAPPING, 24, 0, "cannot be mapped again"},
		{MAPPING, 24, 4, "no such permission"},
		{MAPPING, 28, 99, "a mapping has no file"},
		/* Twice at the same place. */
		{MAPPING, 36, 0x5a5a00000 & 0xffffffff, "cannot be mapped again"},
		{EVENTFD, 12, 99, "an interrupt has no eventfd"},
		{EVENTFD, 12, ~0u, "an interrupt has no eventfd"},
		{EVENTFD, 12, 0, "an interrupt has no eventfd"}, /* taken already */
		{EVENTFD, 12, 2, "an interrupt has no eventfd"}, /* the memory */
		{COMMAND, 4, 15, "a message has no such size"},
		{COMMAND, 4, WIRE_MSG_MAX + 1, "a message has no such size"},
		{COMMAND, 4, WIRE_MSG_MAX, ""},
		{COMMAND, 8, VFIO_USER_TYPE_REPLY, "a command is none"},
		{COMMAND, 8, 7, "a command is none"},
		{COMMAND, 49, VFIO_USER_MAX_FDS + 1, "too many descriptors"},
		{COMMAND, 49, 99, "lacks a descriptor"},
		{COMMAND, 53, 99, "lacks a descriptor"},
		{COMMAND, 53, 0, "lacks a descriptor"}, /* the socket has gone already */
		{INPUT, -4, 17, ""},
		{INPUT, -4, 0, ""},
		{INPUT, -4, ~0u, "what came in is cut"},
		{INPUT, 16, 16, "descriptors belong to no message"},
		{INPUT, 16, ~0u, "descriptors belong to no message"},
		{INPUT, 21, 2, "lacks a descriptor"},
		{INPUT, 25, 99, "lacks a descriptor"},
	};
	struct attempt a;
	uint8_t *bytes;
	struct rich r;
	unsigned before;

	rich_up(&r);
	bytes = malloc(r.p.handed.len);
	assert_non_null(bytes);
	before = open_fds();
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(bytes, r.p.handed.bytes, r.p.handed.len);
		put32(place_of(&r, bytes, cases[i].place) + cases[i].offset, cases[i].value);
		whole(&r, &a);
		a.bytes = bytes;
		if (!try(&r, &a))
			fail_msg("case %u was taken", i);
		if (!strstr(r.p.err.msg, cases[i].why) || !r.p.err.msg[0])
			fail_msg("case %u: \"%s\" does not say \"%s\"", i, r.p.err.msg,
				 cases[i].why);
		await_fds(before, i);
	}
	free(bytes);
	rich_down(&r);
}

/* One that is missing, and those behind it in its place; and one that is something else. */
static void wrong_descriptors(void **state)
{
	const int none = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const int opath = open("/", O_PATH | O_CLOEXEC);
	struct attempt a;
	struct rich r;
	unsigned nr, before;

	rich_up(&r);
	nr = r.p.handed.nr_fds;
	/* Socket, second socket, memory, pin, what unmasks it, and that of two messages. */
	assert_int_equal(nr, 7);
	before = open_fds();
	for (unsigned i = 0; i < nr; i++) {
		whole(&r, &a);
		a.without = (int)i;
		assert_refused(&r, &a, "");
	}
	for (int i = 0; i < 5; i++) {
		whole(&r, &a);
		a.instead = i;
		a.other = none;
		assert_refused(&r, &a,
			       i == 0   ? "no socket"
			       : i == 1 ? "no second socket"
			       : i == 2 ? "cannot be mapped again"
					: "an interrupt has no eventfd");
		a.other = opath;
		assert_refused(&r, &a, "");
		/* A file that may only be read. */
		a.other = r.event;
		if (i < 3)
			assert_refused(&r, &a, "");
	}
	await_fds(before, 0);
	close(none);
	close(opath);
	rich_down(&r);
}

/* A state that its device does not go on from: the client is not to find another device. */
static void another_device(void **state)
{
	struct attempt a;
	struct rich r;
	struct handed_side *nobody = malloc(sizeof(*nobody));

	assert_non_null(nobody);
	rich_up(&r);
	/* Nobody had it when this was saved. */
	handed_up(nobody, SPEC);
	handed_stop(nobody);
	whole(&r, &a);
	{
		int fds[7], ret;

		for (unsigned i = 0; i < 7; i++)
			fds[i] = fcntl(r.p.handed.fds[i], F_DUPFD_CLOEXEC, 3);
		ret = handed_take(r.p.to, nobody, a.bytes, a.len, fds, 7, &r.p.err);
		assert_int_equal(ret, -EINVAL);
		assert_says(&r.p, "begins anew");
		for (unsigned i = 0; i < 7; i++)
			if (fds[i] >= 0)
				close(fds[i]);
	}
	handed_back(nobody);
	handed_down(nobody);
	free(nobody);
	rich_down(&r);
}

/* And what is right is taken, after all that. */
static void a_good_one_afterwards(void **state)
{
	struct attempt a;
	uint8_t *bytes;
	struct rich r;

	rich_up(&r);
	bytes = malloc(r.p.handed.len);
	assert_non_null(bytes);
	memcpy(bytes, r.p.handed.bytes, r.p.handed.len);
	put32(bytes, ~0u);
	whole(&r, &a);
	a.bytes = bytes;
	assert_refused(&r, &a, "version");
	free(bytes);
	pair_take(&r.p);
	/* Its command is answered there, and the half one when it is whole. */
	{
		const struct vfio_user_dma_map rest = {sizeof(rest), 3, 0, IOVA + 3 * SIZE, SIZE};

		send_fds(r.p.fd, &rest, sizeof(rest), NULL, 0);
	}
	for (unsigned id = 1; id <= 77; id += 76) {
		assert_int_equal(client_receive(r.p.fd, &r.p.r), 0);
		assert_int_equal(r.p.r.hdr.id, id);
		assert_int_equal(r.p.r.hdr.error, 0);
	}
	assert_int_equal(get64(&r.p, PCITEST_SCRATCH), 0x77);
	close(r.mem);
	close(r.event);
	close(r.unmask);
	pair_down(&r.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_anywhere),          cmocka_unit_test(wrong_values),
		cmocka_unit_test(wrong_descriptors),     cmocka_unit_test(another_device),
		cmocka_unit_test(a_good_one_afterwards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
