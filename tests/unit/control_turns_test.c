/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose turn it is in control: what waited for a client to read goes on when it has read, however
 * that is noticed; who sends without end keeps others waiting for few turns; no job waits for
 * another.
 *
 * A request's handler is made to wait where the order of things matters: s.describing runs in the
 * control's context, which does nothing else meanwhile.
 */
#include <sched.h>
#include "control/control_private.h"
#include "control_harness.h"

#define REQUEST(id, method, params)                                                                \
	"{\"jsonrpc\":\"2.0\"," id "\"method\":\"" method "\",\"params\":[" params "]}\n"
#define ID "\"id\":1,"

/* ---- the end of being blocked ---- */

#define MANY 400u

struct blocked {
	struct server s;
	struct peer *p; /* reads nothing, while a job of its runs */
	bool job_may_end;
	bool blocked, ended;
};

static void read_what_came(struct peer *p)
{
	ssize_t n;

	do {
		n = recv(p->fd, p->buf + p->len, sizeof(p->buf) - p->len, MSG_DONTWAIT);
		if (n > 0)
			p->len += (size_t)n;
	} while (n > 0);
}

static void wait_for_job(struct control *control)
{
	for (bool done = false; !done; sched_yield()) {
		pthread_mutex_lock(&control->job_lock);
		done = control->done;
		pthread_mutex_unlock(&control->job_lock);
	}
}

/*
 * In the context.  Once the client is blocked and its events have been looked at in vain, let the
 * client read all that was sent, and its job end.  What the context does next is to answer the job;
 * with that goes all else that waited to be sent, before the client's socket is heard of.
 */
static void end_job_of_blocked(struct server *s, const char *device)
{
	struct blocked *b = (struct blocked *)s;
	struct client *client = s->control->clients;

	while (client && !client->nr_calls)
		client = client->next;
	if (!client || b->ended)
		return;
	b->blocked = client_blocked(client) && client->in_pos < client->in_len;
	if (!b->blocked || !b->job_may_end || atomic_load(&s->control->trace_signalled))
		return;
	b->ended = true;
	read_what_came(b->p);
	sem_post(&s->go);
	wait_for_job(s->control);
}

static void describe_until(struct peer *p, const bool *what)
{
	do
		json_object_put(ask(p, "show", "[\"01:00.0\"]"));
	while (!*what);
}

static void test_blocked_no_more(void **state)
{
	struct blocked b = {0};
	struct server *s = &b.s;
	unsigned events = 0;
	struct peer *other;

	server_up(s, &server_ops);
	s->hold = true;
	other = peer_new(s);
	b.p = peer_new(s);
	json_object_put(ask(b.p, "trace", "{\"events\":[\"reset\"]}"));
	say(b.p, REQUEST(ID, "remove", "\"02:00.0\""));
	sem_wait(&s->entered);
	for (unsigned i = 0; i < MANY; i++)
		say(b.p, REQUEST(ID, "lspci", ""));
	s->describing = end_job_of_blocked;
	describe_until(other, &b.blocked);
	assert_int_equal(dev_ioctl(&s->f, VFIO_DEVICE_RESET, NULL), 0);
	b.job_may_end = true;
	describe_until(other, &b.ended);
	for (unsigned i = 0; i < MANY + 2; i++) {
		struct json_object *a = hear_json(b.p);

		events += json_object_object_get_ex(a, "method", NULL);
		json_object_put(a);
	}
	assert_int_equal(events, 1);
	peer_free(b.p);
	peer_free(other);
	server_down(s);
}

/* ---- turns ---- */

/* Each request of three clients takes as long as a turn may. */
struct busy {
	struct server s;
	unsigned turns;
	unsigned at; /* after how many the other one had its; 0: not yet */
};

static void take_a_turn(struct server *s, const char *device)
{
	struct busy *b = (struct busy *)s;
	uint64_t start = uvfio_now_ns();

	if (!strcmp(device, "0000:02:00.0"))
		b->at = b->turns;
	if (b->at)
		return;
	if (!b->turns++) {
		sem_post(&s->entered);
		sem_wait(&s->go);
	}
	while (uvfio_now_ns() - start <= TURN_NS)
		;
}

static void test_others_have_their_turn(void **state)
{
	struct busy b = {0};
	struct server *s = &b.s;
	struct peer *p[3], *other;

	server_up(s, &server_ops);
	for (unsigned i = 0; i < 3; i++) {
		p[i] = peer_new(s);
		json_object_put(ask(p[i], "version", NULL));
	}
	s->describing = take_a_turn;
	for (unsigned i = 0; i < 3; i++)
		for (unsigned j = 0; j < 200; j++)
			say(p[i], REQUEST("", "show", "\"01:00.0\""));
	sem_wait(&s->entered);
	other = peer_new(s);
	say(other, REQUEST(ID, "show", "\"02:00.0\""));
	sem_post(&s->go);
	json_object_put(hear_json(other));
	/* To accept it, and to hear it: some rounds of three. */
	assert_in_range(b.at, 1, 24);
	for (unsigned i = 0; i < 3; i++)
		peer_free(p[i]);
	peer_free(other);
	server_down(s);
}

/* ---- jobs ---- */

/* The worker that is there first gets up late: it takes no processor from who wakes it. */
static int wait_in_remove(void *arg, const char *name, enum control_removal how,
			  struct uvfio_error *err)
{
	struct server *s = arg;

	if (!s->hold) {
		sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
		return 0;
	}
	sem_post(&s->entered);
	sem_wait(&s->go);
	return 0;
}

static void test_jobs_do_not_wait_for_each_other(void **state)
{
	static const struct control_ops ops = {.remove = wait_in_remove};
	char batch[1024] = "[";
	cpu_set_t before, one;
	struct server s;
	struct peer *p;

	/* All on one processor. */
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	server_up(&s, &ops);
	p = peer_new(&s);
	/* One worker is there, and idle. */
	json_object_put(ask(p, "remove", "[\"02:00.0\"]"));
	s.hold = true;
	for (unsigned i = 0; i < 8; i++)
		snprintf(batch + strlen(batch), sizeof(batch) - strlen(batch), "%s%s", i ? "," : "",
			 REQUEST(ID, "remove", "\"02:00.0\""));
	strcat(batch, "]");
	say(p, batch);
	/* All of them are begun before one has ended. */
	for (unsigned i = 0; i < 8; i++)
		sem_wait(&s.entered);
	for (unsigned i = 0; i < 8; i++)
		sem_post(&s.go);
	json_object_put(hear_json(p));
	peer_free(p);
	server_down(&s);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocked_no_more),
		cmocka_unit_test(test_others_have_their_turn),
		cmocka_unit_test(test_jobs_do_not_wait_for_each_other),
	};

	alarm(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
