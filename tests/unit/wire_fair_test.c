/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No client of a server keeps another one waiting: by many messages, by large ones, by not reading,
 * or by asking later for what somebody waits for.
 */
#include <sched.h>
#include <semaphore.h>
#include <sys/wait.h>
#include "wire_util.h"

#define OTHERS 4 /* so that some are on the same loop */

static void send_version(int fd)
{
	client_send(fd, 1, VFIO_USER_VERSION, 0, "\0\0\1\0", 4, NULL, 0);
}

static bool has_answer(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static unsigned in_state(struct wire_fixture *f, const char *state)
{
	struct wire_connection_info info[32];
	unsigned n = wire_connections(f->server, info, 32), found = 0;

	assert_true(n <= 32);
	for (unsigned i = 0; i < n; i++)
		found += !strcmp(info[i].state, state);
	return found;
}

static void await_waiting(struct wire_fixture *f, unsigned n)
{
	while (in_state(f, "WAITING") != n)
		sched_yield();
}

/* ---- many writes in one message ---- */

static sem_t reached, may_go;

static void hold_the_first(struct wdev *w)
{
	if (w->doorbells != 1)
		return;
	sem_post(&reached);
	while (sem_wait(&may_go))
		;
}

static void many_writes_in_one(void **state)
{
	enum { WRITES = 2000 };
	struct {
		struct vfio_user_write_multi head;
		struct vfio_user_write wrs[WRITES];
	} *multi = calloc(1, sizeof(*multi));
	struct vfio_user_write_multi done;
	struct wire_fixture f;
	static struct reply r;
	int fd, other;

	assert_non_null(multi);
	multi->head.wr_cnt = WRITES;
	for (unsigned i = 0; i < WRITES; i++)
		multi->wrs[i] = (struct vfio_user_write){W_DOORBELL, 0, 4, {1}};
	sem_init(&reached, 0, 0);
	sem_init(&may_go, 0, 0);
	wire_up(&f);
	fd = client_open(&f);
	client_enable(fd);
	f.dev->on_doorbell = hold_the_first;
	client_send(fd, 7, VFIO_USER_REGION_WRITE_MULTI, 0, multi, sizeof(*multi), NULL, 0);
	sem_wait(&reached);
	/* It is in the middle of them, and stays there. */
	for (unsigned i = 0; i < OTHERS; i++) {
		other = client_connect(&f);
		assert_int_equal(client_version(other, NULL, &r), EBUSY);
		close(other);
	}
	assert_int_equal(f.dev->doorbells, 1);
	sem_post(&may_go);
	assert_int_equal(client_receive(fd, &r), 0);
	assert_int_equal(r.hdr.flags, VFIO_USER_TYPE_REPLY);
	memcpy(&done, r.payload, sizeof(done));
	assert_int_equal(done.wr_cnt, WRITES);
	assert_int_equal(f.dev->doorbells, WRITES);
	close(fd);
	wire_down(&f);
	free(multi);
}

/* ---- many messages ---- */

static void wait_for_token(struct wdev *w)
{
	sem_post(&reached);
	while (sem_wait(&may_go))
		;
}

/* More writes than anybody handles in one go, each of which takes a millisecond: the others get
 * their answers after a few. */
static void many_messages(void **state)
{
	enum { WRITES = 200, FEW = 100 };
	struct wire_fixture f;
	static struct reply r;
	int fd, others[OTHERS];
	uint32_t value = 1;
	unsigned answers = 0, tokens = 0;

	sem_init(&reached, 0, 0);
	sem_init(&may_go, 0, 0);
	wire_up(&f);
	fd = client_open(&f);
	client_enable(fd);
	for (unsigned i = 0; i < OTHERS; i++)
		others[i] = client_connect(&f);
	f.dev->on_doorbell = wait_for_token;
	for (unsigned i = 0; i < WRITES; i++)
		client_post(fd, 0, W_DOORBELL, &value, 4, VFIO_USER_NO_REPLY);
	sem_wait(&reached);
	for (unsigned i = 0; i < OTHERS; i++)
		send_version(others[i]);
	/* The loop stands in a write whenever the answers are counted. */
	for (; answers < OTHERS && tokens < WRITES - 1; tokens++) {
		usleep(1000);
		sem_post(&may_go);
		sem_wait(&reached);
		answers = 0;
		for (unsigned i = 0; i < OTHERS; i++)
			answers += has_answer(others[i]);
	}
	for (unsigned i = tokens; i < WRITES; i++)
		sem_post(&may_go);
	/* One loop answers when it likes; the one that was busy, soon. */
	assert_int_equal(answers, OTHERS);
	assert_true(tokens <= FEW);
	for (unsigned i = 0; i < OTHERS; i++) {
		assert_int_equal(client_receive(others[i], &r), 0);
		assert_int_equal(r.hdr.error, EBUSY);
		close(others[i]);
	}
	assert_int_equal(client_get(fd, W_ID), WDEV_ID);
	assert_int_equal(f.dev->doorbells, WRITES);
	close(fd);
	wire_down(&f);
}

/* ---- who waits for the device ---- */

static void let_it_go(struct wire_fixture *f)
{
	while (!f->dev->quiescing)
		sched_yield();
	f->dev->may_end = true;
	uvfio_kick(f->dev->dev);
}

/* Those who wait get the device in the order in which they asked, not in that of connecting. */
static void first_come_first_served(void **state)
{
	struct wire_fixture f;
	static struct reply r;
	int has, early, asks[3];

	wire_up(&f);
	has = client_open(&f);
	early = client_connect(&f); /* and does not ask */
	for (unsigned i = 0; i < 3; i++)
		asks[i] = client_connect(&f);
	f.dev->slow = true;
	close(has);
	while (!f.dev->quiescing)
		sched_yield();
	/* In another order. */
	send_version(asks[2]);
	await_waiting(&f, 1);
	send_version(asks[0]);
	await_waiting(&f, 2);
	send_version(asks[1]);
	await_waiting(&f, 3);
	send_version(early);
	await_waiting(&f, 4);
	/* One that gives up is no obstacle. */
	close(asks[0]);
	await_waiting(&f, 3);
	let_it_go(&f);
	assert_int_equal(client_receive(asks[2], &r), 0);
	assert_int_equal(r.hdr.flags, VFIO_USER_TYPE_REPLY);
	assert_false(has_answer(asks[1]) || has_answer(early));
	close(asks[2]);
	assert_int_equal(client_receive(asks[1], &r), 0);
	assert_int_equal(r.hdr.flags, VFIO_USER_TYPE_REPLY);
	assert_false(has_answer(early));
	close(asks[1]);
	assert_int_equal(client_receive(early, &r), 0);
	assert_int_equal(r.hdr.flags, VFIO_USER_TYPE_REPLY);
	close(early);
	wire_down(&f);
}

/* Somebody who asks in the moment in which the device comes back does not get it before the one who
 * has been waiting. */
static void nobody_overtakes(void **state)
{
	enum { ROUNDS = 100, LATE = 3 };
	struct wire_connection_info info;
	struct wire_fixture f;
	static struct reply r;
	int has, waits, late[LATE];

	wire_up(&f);
	has = client_open(&f);
	f.dev->slow = true;
	for (unsigned round = 0; round < ROUNDS; round++) {
		f.dev->may_end = false;
		close(has);
		waits = client_connect(&f);
		for (unsigned i = 0; i < LATE; i++)
			late[i] = client_connect(&f);
		send_version(waits);
		await_waiting(&f, 1);
		let_it_go(&f);
		for (unsigned i = 0; i < LATE; i++)
			send_version(late[i]);
		assert_int_equal(client_receive(waits, &r), 0);
		assert_int_equal(r.hdr.flags, VFIO_USER_TYPE_REPLY);
		/* The others are refused, or are behind it. */
		for (unsigned i = 0; i < LATE; i++) {
			if (!has_answer(late[i]))
				continue;
			assert_int_equal(client_receive(late[i], &r), 0);
			assert_int_equal(r.hdr.error, EBUSY);
		}
		for (unsigned i = 0; i < LATE; i++)
			close(late[i]);
		/* None of them is left that could count as the next one who waits. */
		while (wire_connections(f.server, &info, 1) != 1)
			sched_yield();
		has = waits;
	}
	f.dev->may_end = true;
	close(has);
	wire_down(&f);
}

/* ---- a client whose process has ended before its socket has ---- */

/* As client_connect(), of a process that is no more: somebody else has its socket. */
static int connect_as_a_dead_one(struct wire_fixture *f)
{
	int way[2], pair[2];
	pid_t pid;
	char byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, way), 0);
	pid = fork();
	if (!pid) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			_exit(1);
		for (unsigned i = 0; i < 2; i++)
			send_fds(way[1], "", 1, &pair[i], 1);
		_exit(0);
	}
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(read_all(way[0], &byte, 1, &pair[i]), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(way[0]);
	close(way[1]);
	assert_int_equal(wire_adopt(f->listener, pair[1]), 0);
	return pair[0];
}

/* False: this kernel cannot tell, and the next one is refused at once. */
static bool dead_ones_are_seen(void)
{
	int pair[2], pidfd;
	socklen_t len = sizeof(pidfd);
	bool seen;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	seen = !getsockopt(pair[0], SOL_SOCKET, 77 /* SO_PEERPIDFD */, &pidfd, &len);
	if (seen)
		close(pidfd);
	close(pair[0]);
	close(pair[1]);
	return seen;
}

static void dead_with_an_open_socket(void **state)
{
	struct wire_fixture f;
	static struct reply r;
	int dead, next;

	if (!dead_ones_are_seen())
		skip();
	wire_up(&f);
	dead = connect_as_a_dead_one(&f);
	assert_int_equal(client_version(dead, NULL, &r), 0);
	next = client_connect(&f);
	send_version(next);
	await_waiting(&f, 1);
	close(dead);
	assert_int_equal(client_receive(next, &r), 0);
	assert_int_equal(r.hdr.flags, VFIO_USER_TYPE_REPLY);
	close(next);
	wire_down(&f);
}

/* Whoever has the socket uses it: the device is not free. */
static void dead_and_still_used(void **state)
{
	struct wire_fixture f;
	static struct reply r;
	int dead, next;

	wire_up(&f);
	dead = connect_as_a_dead_one(&f);
	assert_int_equal(client_version(dead, NULL, &r), 0);
	next = client_connect(&f);
	assert_int_equal(client_version(next, NULL, &r), EBUSY);
	client_enable(dead);
	assert_int_equal(client_get(dead, W_ID), WDEV_ID);
	close(next);
	close(dead);
	wire_down(&f);
}

/* ---- a client that has shut its sending half ---- */

static int shut_with_unread_answers(struct wire_fixture *f)
{
	struct vfio_user_region_access a = {0, 2, 8192};
	struct vfio_user_header hdr = {1, VFIO_USER_REGION_READ, sizeof(hdr) + sizeof(a), 0, 0};
	uint8_t msg[sizeof(hdr) + sizeof(a)];
	int fd = client_open(f);

	client_enable(fd);
	memcpy(msg, &hdr, sizeof(hdr));
	memcpy(msg + sizeof(hdr), &a, sizeof(a));
	/* A quarter of a megabyte of answers is more than fits the socket. */
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(send(fd, msg, sizeof(msg), 0), sizeof(msg));
	shutdown(fd, SHUT_WR);
	return fd;
}

/* It does not read and keeps the socket open.  Whoever asks for the device gets it. */
static void half_shut(void **state)
{
	struct wire_fixture f;
	static struct reply r;
	int fd, next;

	wire_up(&f);
	fd = shut_with_unread_answers(&f);
	next = client_connect(&f);
	assert_int_equal(client_version(next, NULL, &r), 0);
	client_enable(next);
	assert_int_equal(client_get(next, W_ID), WDEV_ID);
	close(next);
	close(fd);
	wire_down(&f);
}

/* As long as nobody asks, it gets all of its answers, however late it reads them: also when the
 * server, which expects the next question at once, sees the end while answers are queued. */
static void half_shut_alone(void **state)
{
	enum { ROUNDS = 200 };
	struct wire_fixture f;
	static struct reply r;
	int fd;

	wire_up(&f);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned answers = 0;

		fd = shut_with_unread_answers(&f);
		while (client_receive(fd, &r) == 0) {
			assert_int_equal(r.len, sizeof(struct vfio_user_region_access) + 8192);
			answers++;
		}
		assert_int_equal(answers, 64);
		close(fd);
	}
	wire_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_writes_in_one),
		cmocka_unit_test(many_messages),
		cmocka_unit_test(first_come_first_served),
		cmocka_unit_test(nobody_overtakes),
		cmocka_unit_test(dead_with_an_open_socket),
		cmocka_unit_test(dead_and_still_used),
		cmocka_unit_test(half_shut),
		cmocka_unit_test(half_shut_alone),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
