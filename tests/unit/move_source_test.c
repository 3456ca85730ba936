/* SPDX-License-Identifier: BSD-3-Clause */
/* src/control/move*.c, the source: whatever the other side does, the device is here, or there. */
#include <sched.h>
#include "move_util.h"

#define SPEC "pcitest,memory=2M"

/* How far the other side plays along. */
enum until { HELLO, WELCOME, DATA, END, READY, YOURS, HAVE };

/* False: it has gone before. */
static bool play(int fd, enum until until)
{
	if (until == HELLO)
		return true;
	assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_HELLO);
	if (until == WELCOME)
		return true;
	say_frame(fd, MOVE_FRAME_WELCOME, NULL, 0);
	if (until == DATA)
		return hear_frame(fd, NULL) == MOVE_FRAME_DATA;
	hear_data(fd);
	if (until == END)
		return true;
	say_frame(fd, MOVE_FRAME_READY, NULL, 0);
	if (until == READY)
		return true;
	assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_YOURS);
	if (until == HAVE)
		say_frame(fd, MOVE_FRAME_HAVE, NULL, 0);
	return true;
}

static void start(struct pair *p, struct mover *m, int *fd)
{
	int fds[2];

	socket_pair(fds);
	mover_start(m, p->first, fds[0], false);
	*fd = fds[1];
}

/* It says why it gives up, and is let go: it would wait a while for that. */
static void hear_no(int fd)
{
	uint32_t kind;

	while ((kind = hear_frame(fd, NULL)) && kind != MOVE_FRAME_NO)
		;
	assert_int_equal(kind, MOVE_FRAME_NO);
	close(fd);
}

static void still_here_but_leaving(struct pair *p)
{
	assert_int_equal(vfio_device_place(p->first), VFIO_LEAVING);
	assert_int_equal(bar_get(&p->f, 0, PCITEST_SCRATCH, 8), SCRATCH);
}

static void moved(void **state)
{
	struct mover out = {.ret = 0}, in = {.ret = 0};
	struct pair p;
	int fds[2];

	pair_up(&p, SPEC, SPEC);
	socket_pair(fds);
	mover_start(&out, p.first, fds[0], false);
	mover_start(&in, p.second, fds[1], true);
	if (mover_end(&out))
		fail_msg("%s", out.err.msg);
	if (mover_end(&in))
		fail_msg("%s", in.err.msg);
	assert_int_equal(vfio_device_place(p.first), VFIO_GONE);
	assert_int_equal(vfio_device_place(p.second), VFIO_HERE);
	assert_true(out.move.progress.bytes > 0);
	assert_int_equal(out.move.progress.bytes, in.move.progress.bytes);
	assert_true(out.move.progress.passes >= 1);
	assert_int_equal(out.move.progress.step, MOVE_DONE);
	pair_down(&p);
}

/* The other side closes at each step. */
static void it_goes(void **state)
{
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	for (enum until until = HELLO; until <= YOURS; until++) {
		struct mover m = {.ret = 0};
		int fd;

		start(&p, &m, &fd);
		assert_true(play(fd, until));
		close(fd);
		/* READY that is followed by an end is found out before YOURS, or behind it. */
		if (until < READY) {
			assert_int_equal(mover_end(&m), -ENODATA);
			still_here(&p);
			continue;
		}
		assert_int_not_equal(mover_end(&m), 0);
		if (!m.move.doubt) {
			still_here(&p);
			continue;
		}
		assert_int_equal(m.ret, -EINPROGRESS);
		expect(&m, "uvfio resume " FIRST " --force");
		assert_int_equal(vfio_device_place(p.first), VFIO_IN_DOUBT);
		assert_int_equal(vfio_device_resume(p.first, true, &m.err), 0);
		still_here(&p);
	}
	pair_down(&p);
}

static void it_says_no(void **state)
{
	static const char why[] = "not today\n\33[2J";
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	for (enum until until = HELLO; until <= YOURS; until++) {
		struct mover m = {.ret = 0};
		int fd;

		if (until == READY)
			continue; /* it says something else */
		start(&p, &m, &fd);
		assert_true(play(fd, until));
		say_frame(fd, MOVE_FRAME_NO, why, sizeof(why) - 1);
		assert_int_equal(mover_end(&m), -EREMOTEIO);
		expect(&m, "not today??[2J");
		assert_false(m.move.doubt);
		still_here(&p);
		close(fd);
	}
	pair_down(&p);
}

static void it_lies(void **state)
{
	static const uint32_t wrong[] = {0, MOVE_FRAME_HELLO, MOVE_FRAME_HAVE, MOVE_FRAME_DATA,
					 9, 0xffffffff};
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	for (enum until until = WELCOME; until <= END; until++) {
		for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
			struct mover m = {.ret = 0};
			int fd;

			start(&p, &m, &fd);
			assert_true(play(fd, until));
			say_head(fd, wrong[i], 0);
			hear_no(fd);
			assert_int_equal(mover_end(&m), -EPROTO);
			assert_false(m.move.doubt);
			still_here(&p);
		}
	}
	/* A frame that is too long, where one may come. */
	for (unsigned i = 0; i < 2; i++) {
		struct mover m = {.ret = 0};
		int fd;

		start(&p, &m, &fd);
		assert_true(play(fd, i ? END : WELCOME));
		say_head(fd, i ? MOVE_FRAME_READY : MOVE_FRAME_WELCOME, MOVE_PAYLOAD_MAX + 1);
		hear_no(fd);
		assert_int_equal(mover_end(&m), -EPROTO);
		expect(&m, "too long");
		still_here(&p);
	}
	pair_down(&p);
}

/* Behind YOURS nothing but HAVE and NO says where it is. */
static void it_lies_in_the_end(void **state)
{
	struct mover m = {.ret = 0};
	struct pair p;
	int fd;

	pair_up(&p, SPEC, SPEC);
	start(&p, &m, &fd);
	assert_true(play(fd, YOURS));
	say_frame(fd, MOVE_FRAME_READY, NULL, 0);
	assert_int_equal(mover_end(&m), -EINPROGRESS);
	assert_true(m.move.doubt);
	assert_int_equal(vfio_device_resume(p.first, true, &m.err), 0);
	still_here(&p);
	close(fd);
	pair_down(&p);
}

static void it_stalls(void **state)
{
	static const enum until where[] = {WELCOME, END, YOURS};
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	for (unsigned i = 0; i < 3; i++) {
		struct mover m = {.move.options.stall_ms = 300};
		int fd;

		start(&p, &m, &fd);
		/* When this process is held up for so long itself it has gone. */
		if (!play(fd, where[i]))
			fail_msg("%s", m.err.msg);
		if (where[i] != YOURS)
			hear_no(fd);
		mover_end(&m);
		assert_int_equal(m.ret, where[i] == YOURS ? -EINPROGRESS : -ETIMEDOUT);
		assert_int_equal(m.move.doubt, where[i] == YOURS);
		if (m.move.doubt)
			assert_int_equal(vfio_device_resume(p.first, true, &m.err), 0);
		still_here(&p);
		if (where[i] == YOURS)
			close(fd);
	}
	pair_down(&p);
}

/* It takes nothing: the socket's buffer is full. */
static void it_does_not_read(void **state)
{
	struct mover m = {.move.options.stall_ms = 300};
	struct pair p;
	int fd;

	pair_up(&p, SPEC, SPEC);
	for (uint64_t at = 0; at < 2 << 20; at += 2048)
		bar_put(&p.f, 2, at, 8, at + 1);
	start(&p, &m, &fd);
	assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_HELLO);
	say_frame(fd, MOVE_FRAME_WELCOME, NULL, 0);
	assert_int_equal(mover_end(&m), -ETIMEDOUT);
	expect(&m, "taken anything");
	assert_int_equal(vfio_device_place(p.first), VFIO_HERE);
	close(fd);
	pair_down(&p);
}

static void cancelled(void **state)
{
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	for (enum until until = HELLO; until <= YOURS; until++) {
		struct mover m = {.ret = 0};
		int fd;

		if (until == READY)
			continue; /* it goes on by itself */
		start(&p, &m, &fd);
		assert_true(play(fd, until));
		move_cancel(&m.move, false);
		if (until == YOURS) {
			/* Too late. */
			say_frame(fd, MOVE_FRAME_HAVE, NULL, 0);
			assert_int_equal(mover_end(&m), 0);
			assert_int_equal(vfio_device_place(p.first), VFIO_GONE);
			close(fd);
			break;
		}
		hear_no(fd);
		assert_int_equal(mover_end(&m), -ECANCELED);
		expect(&m, "cancelled");
		still_here(&p);
	}
	pair_down(&p);
}

/* The server ends while it waits for HAVE: it waits no longer. */
static void the_server_ends(void **state)
{
	struct mover m = {.ret = 0};
	struct pair p;
	int fd;

	pair_up(&p, SPEC, SPEC);
	start(&p, &m, &fd);
	assert_true(play(fd, YOURS));
	move_cancel(&m.move, false);
	move_cancel(&m.move, true);
	assert_int_equal(mover_end(&m), -EINPROGRESS);
	assert_true(m.move.doubt);
	assert_int_equal(vfio_device_resume(p.first, false, &m.err), 0);
	close(fd);
	pair_down(&p);
}

static void out_of_time(void **state)
{
	struct mover m = {.move.options.timeout_ns = 50000000};
	struct pair p;
	int fd;

	pair_up(&p, SPEC, SPEC);
	start(&p, &m, &fd);
	hear_no(fd);
	assert_int_equal(mover_end(&m), -ETIMEDOUT);
	expect(&m, "in the time given");
	still_here(&p);
	pair_down(&p);
}

static void count_users(void *arg, struct vfio_device *dev)
{
	unsigned *calls = arg;

	/* They are still held: whoever is answered by what is left has been sent away before. */
	assert_int_equal(vfio_device_place(dev), VFIO_IN_DOUBT);
	assert_true(vfio_device_sleeps(dev));
	++*calls;
}

static void users_are_sent_away_first(void **state)
{
	unsigned calls = 0;
	struct mover m = {.move = {.gone = count_users, .arg = &calls}};
	struct pair p;
	int fd;

	pair_up(&p, SPEC, SPEC);
	start(&p, &m, &fd);
	assert_true(play(fd, HAVE));
	assert_int_equal(mover_end(&m), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(vfio_device_place(p.first), VFIO_GONE);
	close(fd);
	pair_down(&p);
}

/* One that is copied only when it is still goes in one piece, whatever the limit. */
static void only_when_still(void **state)
{
	struct mover m = {.move.options = {.bandwidth = 1, .downtime_ns = 1}};
	struct pair p;
	int fd;

	pair_up(&p, SPEC ",migration-can=stop-copy", SPEC ",migration-can=stop-copy");
	start(&p, &m, &fd);
	assert_true(play(fd, HAVE));
	assert_int_equal(mover_end(&m), 0);
	assert_int_equal(m.move.progress.passes, 0);
	close(fd);
	pair_down(&p);
}

/* At so many bytes a second it is never done; it runs as long. */
static void slowly(void **state)
{
	struct mover m = {.move.options = {.bandwidth = 1, .downtime_ns = 1}};
	struct pair p;
	int fd;

	pair_up(&p, SPEC, SPEC);
	start(&p, &m, &fd);
	assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_HELLO);
	say_frame(fd, MOVE_FRAME_WELCOME, NULL, 0);
	while (atomic_load(&m.move.progress.step) != MOVE_COPY)
		sched_yield();
	still_here_but_leaving(&p);
	move_cancel(&m.move, false);
	hear_no(fd);
	assert_int_equal(mover_end(&m), -ECANCELED);
	still_here(&p);
	pair_down(&p);
}

/* How much is left is said while it goes, not only when all has been looked at. */
static void it_gets_less(void **state)
{
	const uint64_t size = 8 << 20;
	struct mover m = {.move.options = {.bandwidth = 0, .downtime_ns = 1}};
	struct pair p;
	uint64_t left;
	int fd;

	pair_up(&p, "pcitest,memory=8M", "pcitest,memory=8M");
	for (uint64_t at = 0; at < size; at += 4096)
		bar_put(&p.f, 2, at, 8, at + 1);
	start(&p, &m, &fd);
	/* The first frame is the head of the stream; when the third has come, what is left was said
	 * behind the second.  Of 8 MiB no socket holds the rest. */
	assert_true(play(fd, DATA));
	assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_DATA);
	assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_DATA);
	left = atomic_load(&m.move.progress.left);
	assert_true(left > 0 && left < size);
	move_cancel(&m.move, false);
	assert_int_equal(mover_end(&m), -ECANCELED);
	close(fd);
	pair_down(&p);
}

/* ---- the limit of bandwidth: bytes against a clock that the test has ---- */

static void bandwidth(void **state)
{
	static const uint64_t limits[] = {1, 1000, 4096, 1000000, 123456789, 1ull << 40};

	for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct move_rate rate = {.bandwidth = limits[i]};
		uint64_t now = 1000, begin = now, sent = 0;
		size_t frame = move_rate_frame(&rate);

		assert_true(frame >= 512 && frame <= MOVE_PAYLOAD_MAX);
		for (unsigned n = 0; n < 2000; n++) {
			uint64_t wait = move_rate_take(&rate, now, frame);

			if (!wait) {
				sent += frame;
				/* A bucket more than the time makes, at most. */
				assert_true((double)sent <=
					    (double)(now - begin) * (double)limits[i] / 1e9 +
						    (double)limits[i] / 10 + 512);
				continue;
			}
			now += wait;
		}
		/* And not much less. */
		if (now > begin)
			assert_true((double)sent >=
				    (double)(now - begin) * (double)limits[i] / 1e9 * 0.9 -
					    (double)limits[i] / 10 - 512);
	}
	{
		struct move_rate none = {.bandwidth = 0};

		assert_int_equal(move_rate_frame(&none), MOVE_PAYLOAD_MAX);
		assert_int_equal(move_rate_take(&none, 1, MOVE_PAYLOAD_MAX), 0);
	}
	{
		/* A clock that stands, or goes back, makes nothing. */
		struct move_rate rate = {.bandwidth = 1000};

		assert_int_not_equal(move_rate_take(&rate, 5000, 512), 0);
		assert_int_not_equal(move_rate_take(&rate, 5000, 512), 0);
		assert_int_not_equal(move_rate_take(&rate, 4000, 512), 0);
		assert_int_equal(move_rate_take(&rate, 4000 + 1000000000, 512), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moved),
		cmocka_unit_test(it_goes),
		cmocka_unit_test(it_says_no),
		cmocka_unit_test(it_lies),
		cmocka_unit_test(it_lies_in_the_end),
		cmocka_unit_test(it_stalls),
		cmocka_unit_test(it_does_not_read),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(the_server_ends),
		cmocka_unit_test(out_of_time),
		cmocka_unit_test(users_are_sent_away_first),
		cmocka_unit_test(only_when_still),
		cmocka_unit_test(slowly),
		cmocka_unit_test(it_gets_less),
		cmocka_unit_test(bandwidth),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
