/* SPDX-License-Identifier: BSD-3-Clause */
/* SET_IRQS, row by row of A.8, and delivery. */
#include <dirent.h>

#include <uvfio/device.h>

#include "irq_util.h"

struct fixture {
	struct device dev;
	struct uvfio_loop *loop;
	struct uvfio_ctx *ctx;
	struct irq_set *set;
	int efd[64];
	int plain; /* an fd that is not an eventfd */
	int bad;   /* a number that is no fd */
};

static void start(struct fixture *f, bool dynamic)
{
	struct uvfio_error err;

	memset(f, 0, sizeof(*f));
	f->dev = (struct device){.counts = {1, 8, 64}, .pcie = true, .d0 = true, .mode = -1};
	f->loop = uvfio_loop_new("test", &err);
	assert_non_null(f->loop);
	f->ctx = uvfio_ctx_new(f->loop);
	assert_non_null(f->ctx);
	f->set = irq_set_new(&dev_ops, &f->dev, f->ctx, 64, dynamic);
	assert_non_null(f->set);
	irq_set_gate(f->set, true);
	for (unsigned i = 0; i < 64; i++)
		f->efd[i] = make_eventfd();
	f->plain = open("/dev/null", O_RDWR | O_CLOEXEC);
	f->bad = 1 << 20; /* beyond what a test opens */
}

static void stop(struct fixture *f)
{
	irq_set_free(f->set);
	uvfio_ctx_free(f->ctx);
	uvfio_loop_free(f->loop);
	for (unsigned i = 0; i < 64; i++)
		close(f->efd[i]);
	close(f->plain);
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ---- GET_IRQ_INFO ---- */

static void test_info(void **state)
{
	static const struct {
		unsigned index, argsz;
		bool pcie, dynamic;
		int ret;
		uint32_t flags, count;
	} rows[] = {
		{INTX, 16, true, false, 0, 7, 1},       {MSI, 16, true, false, 0, 9, 8},
		{MSIX, 16, true, false, 0, 9, 64},      {MSIX, 16, true, true, 0, 1, 64},
		{ERR, 16, true, false, 0, 9, 1},        {ERR, 16, false, false, -EINVAL, 0, 0},
		{REQ, 16, false, false, 0, 9, 1},       {5, 16, true, false, -EINVAL, 0, 0},
		{UINT32_MAX, 16, true, false, -EINVAL}, {INTX, 15, true, false, -EINVAL, 0, 0},
		{INTX, 4096, true, false, 0, 7, 1},
	};

	for (size_t i = 0; i < N(rows); i++) {
		struct vfio_irq_info info = {.argsz = rows[i].argsz, .index = rows[i].index};
		struct fixture f;

		start(&f, rows[i].dynamic);
		f.dev.pcie = rows[i].pcie;
		assert_int_equal(irq_get_info(f.set, &info), rows[i].ret);
		if (!rows[i].ret) {
			assert_int_equal(info.flags, rows[i].flags);
			assert_int_equal(info.count, rows[i].count);
		}
		stop(&f);
	}
}

/* ---- validation, 1 to 4 in order ---- */

static void test_validation(void **state)
{
	static const int32_t fds[64] = {-1};
	static const struct {
		const char *what;
		struct {
			uint32_t argsz, flags, index, start, count;
		} h;
		size_t len; /* of the data that the client really has */
		int ret;
		unsigned copies;
	} rows[] = {
		/* 1: in one check, ahead of everything else */
		{"argsz 19", {19, NONE | TRIGGER, MSIX, 0, 0}, 0, -EINVAL, 0},
		{"index 5", {20, NONE | TRIGGER, 5, 0, 0}, 0, -EINVAL, 0},
		{"start + count wraps",
		 {20, NONE | TRIGGER, MSIX, 2, UINT32_MAX - 2},
		 0,
		 -EINVAL,
		 0},
		{"start + count is the maximum",
		 {20, NONE | TRIGGER, MSIX, 1, UINT32_MAX - 1},
		 0,
		 -EINVAL,
		 0},
		{"unknown flag", {20, NONE | TRIGGER | 64, MSIX, 0, 0}, 0, -EINVAL, 0},
		{"unknown flag before a bad action", {20, NONE | 64, MSIX, 0, 0}, 0, -EINVAL, 0},
		/* 2 */
		{"start = available", {20, NONE | TRIGGER, MSIX, 64, 0}, 0, -EINVAL, 0},
		{"start + count > available", {20, NONE | TRIGGER, MSIX, 60, 5}, 0, -EINVAL, 0},
		{"range before a bad action", {20, NONE, MSIX, 64, 0}, 0, -EINVAL, 0},
		/* 3 */
		{"no data type", {20, TRIGGER, MSIX, 0, 1}, 0, -EINVAL, 0},
		{"two data types", {24, NONE | EVENTFD | TRIGGER, MSIX, 0, 1}, 4, -EINVAL, 0},
		{"three data types",
		 {24, NONE | BOOL | EVENTFD | TRIGGER, MSIX, 0, 1},
		 4,
		 -EINVAL,
		 0},
		{"no data type and no action", {20, 0, MSIX, 0, 1}, 0, -EINVAL, 0},
		{"short eventfds", {23, EVENTFD | TRIGGER, MSIX, 0, 1}, 4, -EINVAL, 0},
		{"short eventfds and no action", {23, EVENTFD, MSIX, 0, 1}, 4, -EINVAL, 0},
		{"short bools", {21, BOOL | TRIGGER, MSIX, 0, 2}, 2, -EINVAL, 0},
		{"fault", {24, EVENTFD | TRIGGER, MSIX, 0, 1}, 0, -EFAULT, 1},
		{"fault before a bad action", {24, EVENTFD, MSIX, 0, 1}, 0, -EFAULT, 1},
		/* 4: ENOTTY */
		{"no action", {20, NONE, MSIX, 0, 0}, 0, -ENOTTY, 0},
		{"two actions", {20, NONE | MASK | TRIGGER, INTX, 0, 1}, 0, -ENOTTY, 0},
		{"three actions", {20, NONE | MASK | UNMASK | TRIGGER, INTX, 0, 1}, 0, -ENOTTY, 0},
		{"MSI mask", {20, NONE | MASK, MSI, 0, 1}, 0, -ENOTTY, 0},
		{"MSI unmask", {20, NONE | UNMASK, MSI, 0, 1}, 0, -ENOTTY, 0},
		{"MSI-X mask", {20, NONE | MASK, MSIX, 0, 1}, 0, -ENOTTY, 0},
		{"MSI-X unmask", {20, NONE | UNMASK, MSIX, 0, 1}, 0, -ENOTTY, 0},
		{"ERR mask", {20, NONE | MASK, ERR, 0, 1}, 0, -ENOTTY, 0},
		{"REQ unmask", {20, NONE | UNMASK, REQ, 0, 1}, 0, -ENOTTY, 0},
		{"data are read before that", {24, EVENTFD | MASK, MSIX, 0, 1}, 4, -ENOTTY, 1},
		/* nothing is read when count is 0 */
		{"no eventfds", {20, EVENTFD | TRIGGER, MSIX, 1, 0}, 0, 0, 0},
	};

	for (size_t i = 0; i < N(rows); i++) {
		struct vfio_irq_set hdr = {
			.argsz = rows[i].h.argsz,
			.flags = rows[i].h.flags,
			.index = rows[i].h.index,
			.start = rows[i].h.start,
			.count = rows[i].h.count,
		};
		struct data data = {rows[i].len ? fds : NULL, rows[i].len, 0};
		struct fixture f;
		int ret;

		start(&f, false);
		ret = irq_set_irqs(f.set, &hdr, copy_data, get_eventfd, &data);
		if (ret != rows[i].ret || data.copies != rows[i].copies)
			fail_msg("%s: %d (%u copies), not %d (%u)", rows[i].what, ret, data.copies,
				 rows[i].ret, rows[i].copies);
		stop(&f);
	}
}

/* Check 2 with nothing available: even a disable request fails. */
static void test_absent(void **state)
{
	struct fixture f;

	start(&f, false);
	f.dev.counts[INTX] = f.dev.counts[MSI] = f.dev.counts[MSIX] = 0;
	f.dev.pcie = false;
	for (unsigned index = INTX; index <= ERR; index++)
		assert_int_equal(request(f.set, index, 0, 0, NONE | TRIGGER, NULL), -EINVAL);
	stop(&f);
}

/* ---- steps: a script of requests with what each returns ---- */

enum { FD_BAD = -100, FD_PLAIN = -101, END = -102 }; /* otherwise ≥ 0: efd[i]; < 0 as is */

struct step {
	int ret;
	unsigned index, start, count;
	uint32_t flags;
	int fds[4]; /* or bools */
};

static void run(struct fixture *f, const char *what, const struct step *steps, size_t n)
{
	for (size_t i = 0; i < n && steps[i].flags; i++) {
		const struct step *s = &steps[i];
		int32_t fds[4];
		uint8_t bools[4];
		int ret;

		for (unsigned k = 0; k < 4; k++) {
			bools[k] = (uint8_t)s->fds[k];
			fds[k] = s->fds[k] == FD_BAD     ? f->bad
				 : s->fds[k] == FD_PLAIN ? f->plain
				 : s->fds[k] >= 0        ? f->efd[s->fds[k]]
							 : s->fds[k];
		}
		ret = request(f->set, s->index, s->start, s->count, s->flags,
			      s->flags & BOOL ? (void *)bools : (void *)fds);
		if (ret != s->ret)
			fail_msg("%s, step %zu: %d, not %d", what, i, ret, s->ret);
	}
}

struct script {
	const char *what;
	bool dynamic;
	struct step steps[8];
	int mode; /* afterwards */
	unsigned vectors;
};

static void run_scripts(const struct script *scripts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned before = open_fds(), vectors;
		struct fixture f;
		int mode;

		start(&f, scripts[i].dynamic);
		run(&f, scripts[i].what, scripts[i].steps, N(scripts[i].steps));
		mode = irq_active(f.set, &vectors);
		if (mode != scripts[i].mode || vectors != scripts[i].vectors)
			fail_msg("%s: mode %d, %u vectors; not %d, %u", scripts[i].what, mode,
				 vectors, scripts[i].mode, scripts[i].vectors);
		assert_int_equal(f.dev.mode, scripts[i].mode);
		stop(&f);
		if (open_fds() != before)
			fail_msg("%s: an fd was left open", scripts[i].what);
	}
}

static void test_intx_requests(void **state)
{
	static const struct script scripts[] = {
		{"mask while inactive", 0, {{-EINVAL, INTX, 0, 1, NONE | MASK}}, -1, 0},
		{"unmask while inactive", 0, {{-EINVAL, INTX, 0, 1, NONE | UNMASK}}, -1, 0},
		{"loopback while inactive", 0, {{-EINVAL, INTX, 0, 1, NONE | TRIGGER}}, -1, 0},
		{"bool loopback while inactive",
		 0,
		 {{-EINVAL, INTX, 0, 1, BOOL | TRIGGER, {1}}},
		 -1,
		 0},
		{"disable while inactive", 0, {{-EINVAL, INTX, 0, 0, NONE | TRIGGER}}, -1, 0},
		{"enable", 0, {{0, INTX, 0, 1, EVENTFD | TRIGGER, {0}}}, INTX, 1},
		{"enable without an eventfd",
		 0,
		 {{0, INTX, 0, 1, EVENTFD | TRIGGER, {-1}}},
		 INTX,
		 1},
		{"enable with a very negative fd",
		 0,
		 {{0, INTX, 0, 1, EVENTFD | TRIGGER, {-7}}},
		 INTX,
		 1},
		{"enable with a bad fd",
		 0,
		 {{-EBADF, INTX, 0, 1, EVENTFD | TRIGGER, {FD_BAD}}},
		 -1,
		 0},
		{"enable with no eventfd",
		 0,
		 {{-EINVAL, INTX, 0, 1, EVENTFD | TRIGGER, {FD_PLAIN}}},
		 -1,
		 0},
		{"enable with count 0", 0, {{-EINVAL, INTX, 0, 0, EVENTFD | TRIGGER}}, -1, 0},
		{"swap; a bad fd keeps it",
		 0,
		 {{0, INTX, 0, 1, EVENTFD | TRIGGER, {0}},
		  {0, INTX, 0, 1, EVENTFD | TRIGGER, {1}},
		  {-EBADF, INTX, 0, 1, EVENTFD | TRIGGER, {FD_BAD}}},
		 INTX,
		 1},
		{"disable",
		 0,
		 {{0, INTX, 0, 1, EVENTFD | TRIGGER, {0}},
		  {0, INTX, 0, 0, NONE | TRIGGER},
		  {-EINVAL, INTX, 0, 0, NONE | TRIGGER}},
		 -1,
		 0},
		{"bool with count 0 does not disable",
		 0,
		 {{0, INTX, 0, 1, EVENTFD | TRIGGER, {0}},
		  {-EINVAL, INTX, 0, 0, BOOL | TRIGGER},
		  {-EINVAL, INTX, 0, 0, NONE | MASK},
		  {-EINVAL, INTX, 0, 0, NONE | UNMASK}},
		 INTX,
		 1},
		{"mask by eventfd",
		 0,
		 {{0, INTX, 0, 1, EVENTFD | TRIGGER, {0}},
		  {-ENOTTY, INTX, 0, 1, EVENTFD | MASK, {1}},
		  {-ENOTTY, INTX, 0, 1, EVENTFD | MASK, {-1}}},
		 INTX,
		 1},
		{"mask by eventfd while inactive",
		 0,
		 {{-EINVAL, INTX, 0, 1, EVENTFD | MASK, {1}}},
		 -1,
		 0},
		{"unmask eventfd: errors, then busy, then removed",
		 0,
		 {{0, INTX, 0, 1, EVENTFD | TRIGGER, {0}},
		  {-EBADF, INTX, 0, 1, EVENTFD | UNMASK, {FD_BAD}},
		  {-EINVAL, INTX, 0, 1, EVENTFD | UNMASK, {FD_PLAIN}},
		  {0, INTX, 0, 1, EVENTFD | UNMASK, {1}},
		  {-EBUSY, INTX, 0, 1, EVENTFD | UNMASK, {2}},
		  {-EBADF, INTX, 0, 1, EVENTFD | UNMASK, {FD_BAD}},
		  {0, INTX, 0, 1, EVENTFD | UNMASK, {-1}},
		  {0, INTX, 0, 1, EVENTFD | UNMASK, {2}}},
		 INTX,
		 1},
		{"unmask eventfd while inactive",
		 0,
		 {{-EINVAL, INTX, 0, 1, EVENTFD | UNMASK, {1}}},
		 -1,
		 0},
		{"removing when there is none",
		 0,
		 {{0, INTX, 0, 1, EVENTFD | TRIGGER, {0}}, {0, INTX, 0, 1, EVENTFD | UNMASK, {-1}}},
		 INTX,
		 1},
		{"another mode is active",
		 0,
		 {{0, MSI, 0, 1, EVENTFD | TRIGGER, {0}},
		  {-EINVAL, INTX, 0, 1, EVENTFD | TRIGGER, {1}},
		  {-EINVAL, INTX, 0, 1, EVENTFD | TRIGGER, {FD_BAD}},
		  {-EINVAL, INTX, 0, 1, NONE | TRIGGER},
		  {-EINVAL, INTX, 0, 0, NONE | TRIGGER},
		  {-EINVAL, INTX, 0, 1, NONE | MASK}},
		 MSI,
		 1},
	};

	run_scripts(scripts, N(scripts));
}

static void test_message_requests(void **state)
{
	static const struct script scripts[] = {
		{"disable while inactive", 0, {{-EINVAL, MSIX, 0, 0, NONE | TRIGGER}}, -1, 0},
		{"loopback while inactive",
		 0,
		 {{-EINVAL, MSIX, 0, 1, NONE | TRIGGER},
		  {-EINVAL, MSI, 0, 1, BOOL | TRIGGER, {1}},
		  {-EINVAL, MSI, 0, 0, BOOL | TRIGGER}},
		 -1,
		 0},
		{"enable", 0, {{0, MSIX, 0, 2, EVENTFD | TRIGGER, {0, 1}}}, MSIX, 2},
		{"enable from start", 0, {{0, MSIX, 5, 2, EVENTFD | TRIGGER, {0, 1}}}, MSIX, 7},
		{"enable with nothing", 0, {{0, MSIX, 0, 2, EVENTFD | TRIGGER, {-1, -1}}}, MSIX, 2},
		{"enable with count 0", 0, {{0, MSIX, 3, 0, EVENTFD | TRIGGER}}, MSIX, 3},
		{"count + start = 0",
		 0,
		 {{-ERANGE, MSIX, 0, 0, EVENTFD | TRIGGER},
		  {-ERANGE, MSI, 0, 0, EVENTFD | TRIGGER}},
		 -1,
		 0},
		{"count 0 while active",
		 0,
		 {{0, MSIX, 0, 2, EVENTFD | TRIGGER, {0, 1}}, {0, MSIX, 0, 0, EVENTFD | TRIGGER}},
		 MSIX,
		 2},
		{"disable",
		 0,
		 {{0, MSIX, 0, 2, EVENTFD | TRIGGER, {0, 1}},
		  {0, MSIX, 0, 0, NONE | TRIGGER},
		  {-EINVAL, MSIX, 0, 0, NONE | TRIGGER}},
		 -1,
		 0},
		{"disable with a start",
		 0,
		 {{0, MSIX, 0, 2, EVENTFD | TRIGGER, {0, 1}}, {0, MSIX, 7, 0, NONE | TRIGGER}},
		 -1,
		 0},
		{"another mode is active",
		 0,
		 {{0, MSI, 0, 1, EVENTFD | TRIGGER, {0}},
		  {-EINVAL, MSIX, 0, 1, EVENTFD | TRIGGER, {1}},
		  {-EINVAL, MSIX, 0, 0, NONE | TRIGGER},
		  {-EINVAL, MSIX, 0, 1, NONE | TRIGGER}},
		 MSI,
		 1},
		{"INTx is active",
		 0,
		 {{0, INTX, 0, 1, EVENTFD | TRIGGER, {0}},
		  {-EINVAL, MSIX, 0, 1, EVENTFD | TRIGGER, {1}},
		  {-EINVAL, MSI, 0, 1, EVENTFD | TRIGGER, {1}}},
		 INTX,
		 1},
		{"bad fd in the enabling block: disabled again",
		 0,
		 {{-EBADF, MSIX, 0, 3, EVENTFD | TRIGGER, {0, FD_BAD, 1}},
		  {-EINVAL, MSIX, 0, 3, EVENTFD | TRIGGER, {0, FD_PLAIN, 1}},
		  {0, MSI, 0, 1, EVENTFD | TRIGGER, {0}}},
		 MSI,
		 1},
		{"beyond the allocation, not dynamic",
		 0,
		 {{0, MSIX, 0, 2, EVENTFD | TRIGGER, {0, 1}},
		  {-EINVAL, MSIX, 2, 1, EVENTFD | TRIGGER, {2}},
		  {-EINVAL, MSIX, 2, 1, EVENTFD | TRIGGER, {FD_BAD}},
		  {0, MSIX, 2, 1, EVENTFD | TRIGGER, {-1}}},
		 MSIX,
		 2},
		{"beyond the allocation, dynamic, sparse",
		 1,
		 {{0, MSIX, 0, 1, EVENTFD | TRIGGER, {-1}},
		  {0, MSIX, 9, 1, EVENTFD | TRIGGER, {0}},
		  {-EBADF, MSIX, 11, 1, EVENTFD | TRIGGER, {FD_BAD}},
		  {0, MSIX, 63, 1, EVENTFD | TRIGGER, {1}}},
		 MSIX,
		 4},
		{"MSI is never dynamic",
		 1,
		 {{0, MSI, 0, 1, EVENTFD | TRIGGER, {0}},
		  {-EINVAL, MSI, 1, 1, EVENTFD | TRIGGER, {1}}},
		 MSI,
		 1},
	};

	run_scripts(scripts, N(scripts));
}

static void test_single_requests(void **state)
{
	for (int index = ERR; index <= REQ; index++) {
		const unsigned i = (unsigned)index;
		const struct script scripts[] = {
			{"nothing is set",
			 0,
			 {{-EINVAL, i, 0, 1, NONE | TRIGGER},
			  {-EINVAL, i, 0, 0, NONE | TRIGGER},
			  {0, i, 0, 1, BOOL | TRIGGER, {1}},
			  {-EINVAL, i, 0, 0, BOOL | TRIGGER},
			  {-EINVAL, i, 0, 0, EVENTFD | TRIGGER},
			  {0, i, 0, 1, EVENTFD | TRIGGER, {-1}},
			  {-EINVAL, i, 0, 1, EVENTFD | TRIGGER, {-2}}},
			 -1,
			 0},
			{"set, replace, clear",
			 0,
			 {{0, i, 0, 1, EVENTFD | TRIGGER, {0}},
			  {0, i, 0, 1, EVENTFD | TRIGGER, {1}},
			  {-EBADF, i, 0, 1, EVENTFD | TRIGGER, {FD_BAD}},
			  {-EINVAL, i, 0, 1, EVENTFD | TRIGGER, {FD_PLAIN}},
			  {0, i, 0, 1, NONE | TRIGGER},
			  {0, i, 0, 0, NONE | TRIGGER},
			  {-EINVAL, i, 0, 0, NONE | TRIGGER}},
			 -1,
			 0},
		};

		run_scripts(scripts, N(scripts));
	}
}

/* ---- ERR and REQ delivery ---- */

static void test_single_delivery(void **state)
{
	struct fixture f;
	uint8_t yes = 1, no = 0;

	start(&f, false);
	assert_false(irq_signal_err(f.set));
	assert_int_equal(set_fd(f.set, ERR, 0, f.efd[0]), 0);
	assert_int_equal(set_fd(f.set, REQ, 0, f.efd[1]), 0);
	assert_true(irq_signal_err(f.set));
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(taken(f.efd[1]), 0);
	assert_int_equal(request(f.set, REQ, 0, 1, NONE | TRIGGER, NULL), 0);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(request(f.set, REQ, 0, 1, BOOL | TRIGGER, &no), 0);
	assert_int_equal(taken(f.efd[1]), 0);
	assert_int_equal(request(f.set, REQ, 0, 1, BOOL | TRIGGER, &yes), 0);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(set_fd(f.set, REQ, 0, f.efd[2]), 0);
	assert_true(irq_signal_req(f.set));
	assert_int_equal(taken(f.efd[1]), 0);
	assert_int_equal(taken(f.efd[2]), 1);
	assert_int_equal(irq_delivered(f.set, REQ, 0), 3);
	irq_disable_all(f.set);
	assert_false(irq_signal_req(f.set) || irq_signal_err(f.set));
	stop(&f);
}

/* ---- INTx delivery ---- */

static void mask(struct fixture *f)
{
	assert_int_equal(request(f->set, INTX, 0, 1, NONE | MASK, NULL), 0);
}

static void unmask(struct fixture *f)
{
	assert_int_equal(request(f->set, INTX, 0, 1, NONE | UNMASK, NULL), 0);
}

static void test_intx_delivery(void **state)
{
	struct fixture f;
	uint8_t no = 0;

	start(&f, false);
	irq_set_gate(f.set, false); /* bus mastering does not matter to INTx */
	irq_intx_level(f.set, true);
	assert_true(irq_intx_line(f.set));
	irq_intx_level(f.set, false);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	assert_int_equal(taken(f.efd[0]), 0);

	/* Delivery automasks. */
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_true(irq_intx_masked(f.set));
	irq_intx_level(f.set, false);
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 0);
	/* Still asserted at UNMASK: fires again and stays masked. */
	unmask(&f);
	assert_int_equal(taken(f.efd[0]), 1);
	irq_intx_level(f.set, false);
	unmask(&f);
	assert_int_equal(taken(f.efd[0]), 0);
	assert_false(irq_intx_masked(f.set));

	/* MASK, and BOOL 0 does nothing. */
	assert_int_equal(request(f.set, INTX, 0, 1, BOOL | MASK, &no), 0);
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(request(f.set, INTX, 0, 1, BOOL | UNMASK, &no), 0);
	assert_int_equal(taken(f.efd[0]), 0);
	irq_intx_level(f.set, false);
	unmask(&f);
	mask(&f);
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 0);

	/* Loopback signals even while masked; BOOL 0 does not. */
	assert_int_equal(request(f.set, INTX, 0, 1, NONE | TRIGGER, NULL), 0);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(request(f.set, INTX, 0, 1, BOOL | TRIGGER, &no), 0);
	assert_int_equal(taken(f.efd[0]), 0);

	/* Swapping goes on with the same mask state. */
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[1]), 0);
	assert_int_equal(taken(f.efd[1]), 0);
	unmask(&f);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(taken(f.efd[0]), 0);

	/* Without an eventfd it automasks silently. */
	irq_intx_level(f.set, false);
	unmask(&f);
	assert_int_equal(set_fd(f.set, INTX, 0, -1), 0);
	irq_intx_level(f.set, true);
	assert_true(irq_intx_masked(f.set));
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[1]), 0);
	assert_int_equal(taken(f.efd[1]), 0);
	unmask(&f);
	assert_int_equal(taken(f.efd[1]), 1);

	/* Off and on: starts unmasked, and an asserted line fires at once. */
	assert_int_equal(request(f.set, INTX, 0, 0, NONE | TRIGGER, NULL), 0);
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[1]), 0);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[2]), 0);
	assert_int_equal(taken(f.efd[2]), 1);
	stop(&f);
}

/* A.8: there is one mask state. */
static void test_intx_virtual_disable(void **state)
{
	struct fixture f;

	start(&f, false);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	irq_intx_disable(f.set, true);
	assert_true(irq_intx_masked(f.set));
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 0);
	unmask(&f); /* a no-op */
	assert_int_equal(taken(f.efd[0]), 0);
	assert_true(irq_intx_masked(f.set));
	assert_int_equal(request(f.set, INTX, 0, 1, NONE | TRIGGER, NULL), 0);
	assert_int_equal(taken(f.efd[0]), 0); /* no loopback either */
	irq_intx_disable(f.set, false);
	assert_int_equal(taken(f.efd[0]), 1);

	/* Clearing it unmasks what MASK had masked. */
	irq_intx_level(f.set, false);
	unmask(&f);
	mask(&f);
	irq_intx_disable(f.set, true);
	irq_intx_disable(f.set, false);
	assert_false(irq_intx_masked(f.set));
	/* … but writing the same value again changes nothing. */
	mask(&f);
	irq_intx_disable(f.set, false);
	assert_true(irq_intx_masked(f.set));

	/* Enabling while it is set starts masked. */
	assert_int_equal(request(f.set, INTX, 0, 0, NONE | TRIGGER, NULL), 0);
	irq_intx_level(f.set, true);
	irq_intx_disable(f.set, true);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	assert_int_equal(taken(f.efd[0]), 0);
	irq_intx_disable(f.set, false);
	assert_int_equal(taken(f.efd[0]), 1);

	/* Hardware DisINTx while INTx is not the mode. */
	assert_int_equal(request(f.set, INTX, 0, 0, NONE | TRIGGER, NULL), 0);
	irq_intx_disable(f.set, true);
	assert_true(irq_intx_masked(f.set));
	irq_intx_disable(f.set, false);
	assert_false(irq_intx_masked(f.set));
	assert_int_equal(set_fd(f.set, MSI, 0, f.efd[0]), 0);
	assert_true(irq_intx_masked(f.set));
	assert_int_equal(request(f.set, MSI, 0, 0, NONE | TRIGGER, NULL), 0);
	assert_false(irq_intx_masked(f.set));
	stop(&f);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* Wait until @fd is readable, and take it. */
static uint64_t await(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&pfd, 1, 10000), 1);
	return taken(fd);
}

static void test_intx_unmask_eventfd(void **state)
{
	unsigned before = open_fds();
	struct fixture f;
	int32_t fd;
	int other;

	start(&f, false);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 1);

	/* A counter that is already non-zero acts at once but is not read. */
	signal_fd(f.efd[1]);
	fd = f.efd[1];
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), 0);
	assert_int_equal(taken(f.efd[0]), 1);
	uvfio_ctx_flush(f.ctx);
	assert_int_equal(taken(f.efd[1]), 1);

	/* Later signals are consumed, and unmask each time. */
	for (unsigned i = 0; i < 100; i++) {
		signal_fd(f.efd[1]);
		assert_int_equal(await(f.efd[0]), 1);
		assert_int_equal(taken(f.efd[1]), 0);
	}
	uvfio_ctx_flush(f.ctx);
	assert_int_equal(irq_delivered(f.set, INTX, 0), 102);

	/* Removed: signals do nothing. */
	fd = -1;
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), 0);
	signal_fd(f.efd[1]);
	uvfio_ctx_flush(f.ctx);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(taken(f.efd[0]), 0);

	/* The client closes it: its number is free or stands for another file, so it is forgotten.
	 */
	other = make_eventfd();
	fd = other;
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), 0);
	fd = f.efd[2];
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), -EBUSY);
	fd = dup(other); /* the same eventfd under another number */
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), -EBUSY);
	close(fd);
	close(other);
	fd = f.efd[2];
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), 0);
	fd = dup(f.efd[3]);
	assert_int_equal(dup2(fd, f.efd[2]), f.efd[2]);
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &f.efd[2]), 0);
	close(fd);
	signal_fd(f.efd[3]);
	assert_int_equal(await(f.efd[0]), 1);

	/* Disabling INTx removes it. */
	assert_int_equal(request(f.set, INTX, 0, 0, NONE | TRIGGER, NULL), 0);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	assert_int_equal(taken(f.efd[0]), 1);
	signal_fd(f.efd[3]);
	uvfio_ctx_flush(f.ctx);
	assert_int_equal(taken(f.efd[0]), 0);
	fd = f.efd[4];
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), 0);
	stop(&f);
	assert_int_equal(open_fds(), before);
}

/* ---- MSI and MSI-X delivery ---- */

static void test_positive_return(void **state)
{
	int32_t fds[4];
	struct fixture f;

	start(&f, false);
	for (unsigned i = 0; i < 4; i++)
		fds[i] = f.efd[i];
	f.dev.granted = 3;
	assert_int_equal(request(f.set, MSIX, 0, 4, EVENTFD | TRIGGER, fds), 3);
	assert_int_equal(request(f.set, MSI, 4, 4, EVENTFD | TRIGGER, fds), 3);
	assert_int_equal(irq_active(f.set, NULL), -1);
	assert_int_equal(f.dev.changes, 0);
	assert_int_equal(request(f.set, MSIX, 0, 3, EVENTFD | TRIGGER, fds), 0);
	stop(&f);
}

static void test_power(void **state)
{
	struct fixture f;

	start(&f, true);
	f.dev.d0 = false;
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[0]), -EINVAL);
	assert_int_equal(set_fd(f.set, MSI, 0, f.efd[0]), -EINVAL);
	assert_int_equal(request(f.set, MSI, 0, 0, EVENTFD | TRIGGER, NULL), -ERANGE);
	f.dev.d0 = true;
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[0]), 0);
	f.dev.d0 = false; /* once active it does not matter */
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[1]), 0);
	stop(&f);
}

/* A.8: vectors from start up to and including the failing one are deassigned, later ones keep their
 * eventfds. */
static void test_error_inside_block(void **state)
{
	int32_t fds[6];
	struct fixture f;

	start(&f, false);
	for (unsigned i = 0; i < 6; i++)
		fds[i] = f.efd[i];
	assert_int_equal(request(f.set, MSIX, 0, 6, EVENTFD | TRIGGER, fds), 0);
	fds[1] = f.efd[10];
	fds[2] = f.bad;
	fds[3] = f.efd[11];
	assert_int_equal(request(f.set, MSIX, 1, 4, EVENTFD | TRIGGER, fds + 1), -EBADF);
	assert_int_equal(irq_active(f.set, NULL), MSIX);
	for (unsigned i = 0; i < 6; i++)
		irq_raise(f.set, i);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(taken(f.efd[1]) + taken(f.efd[10]), 0);
	assert_int_equal(taken(f.efd[2]), 0);
	assert_int_equal(taken(f.efd[11]), 0);
	assert_int_equal(taken(f.efd[3]), 1);
	assert_int_equal(taken(f.efd[4]), 1);
	assert_int_equal(taken(f.efd[5]), 1);
	/* What was raised meanwhile is pending, and fires with the next eventfd. */
	assert_int_equal(irq_msix_pba_read(f.set, 0), 6);
	assert_int_equal(set_fd(f.set, MSIX, 1, f.efd[1]), 0);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 4);
	stop(&f);
}

static void test_loopback(void **state)
{
	static const uint8_t bools[3] = {0, 1, 1};
	int32_t fds[3];
	struct fixture f;

	for (unsigned index = MSI; index <= MSIX; index++) {
		start(&f, false);
		fds[0] = f.efd[0];
		fds[1] = -1;
		fds[2] = f.efd[2];
		assert_int_equal(request(f.set, index, 0, 3, EVENTFD | TRIGGER, fds), 0);
		irq_set_gate(f.set, false); /* loopback is the host's */
		assert_int_equal(request(f.set, index, 0, 3, NONE | TRIGGER, NULL), 0);
		assert_int_equal(taken(f.efd[0]), 1);
		assert_int_equal(taken(f.efd[2]), 1);
		assert_int_equal(request(f.set, index, 0, 3, BOOL | TRIGGER, bools), 0);
		assert_int_equal(taken(f.efd[0]), 0);
		assert_int_equal(taken(f.efd[2]), 1);
		stop(&f);
	}
}

static void test_pending(void **state)
{
	int32_t fds[64];
	struct fixture f;

	start(&f, true);
	for (unsigned i = 0; i < 64; i++)
		fds[i] = f.efd[i];

	/* No mode: nothing happens. */
	irq_raise(f.set, 0);
	assert_int_equal(request(f.set, MSIX, 0, 64, EVENTFD | TRIGGER, fds), 0);
	assert_int_equal(taken(f.efd[0]), 0);

	/* The gate: pending while it is closed, each fires once when it opens. */
	irq_set_gate(f.set, false);
	irq_raise(f.set, 3);
	irq_raise(f.set, 3);
	irq_raise(f.set, 63);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 1ull << 3 | 1ull << 63);
	assert_int_equal(irq_msix_pba_read(f.set, 8), 0);
	assert_int_equal(irq_msix_pba_read(f.set, 4), 0);
	assert_int_equal(taken(f.efd[3]), 0);
	irq_set_gate(f.set, true);
	assert_int_equal(taken(f.efd[3]), 1);
	assert_int_equal(taken(f.efd[63]), 1);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 0);

	/* Deassigned: pending; -1 again keeps it; fires with the next eventfd. */
	assert_int_equal(set_fd(f.set, MSIX, 7, -1), 0);
	irq_raise(f.set, 7);
	assert_int_equal(set_fd(f.set, MSIX, 7, -1), 0);
	assert_int_equal(set_fd(f.set, MSIX, 7, f.efd[8]), 0);
	assert_int_equal(taken(f.efd[8]), 1);
	assert_int_equal(taken(f.efd[7]), 0);

	/* Reset clears pending bits; triggers stay. */
	irq_set_gate(f.set, false);
	irq_raise(f.set, 1);
	irq_reset(f.set);
	irq_set_gate(f.set, true);
	assert_int_equal(taken(f.efd[1]), 0);
	irq_raise(f.set, 1);
	assert_int_equal(taken(f.efd[1]), 1);

	/* Disabling forgets what was pending. */
	irq_set_gate(f.set, false);
	irq_raise(f.set, 1);
	assert_int_equal(request(f.set, MSIX, 0, 0, NONE | TRIGGER, NULL), 0);
	irq_set_gate(f.set, true);
	assert_int_equal(request(f.set, MSIX, 0, 64, EVENTFD | TRIGGER, fds), 0);
	assert_int_equal(taken(f.efd[1]), 0);

	/* Not granted: refused and counted. */
	assert_int_equal(irq_dropped(f.set), 0);
	irq_raise(f.set, 64);
	irq_raise(f.set, UINT32_MAX);
	assert_int_equal(irq_dropped(f.set), 2);
	assert_int_equal(irq_delivered(f.set, MSIX, 1), 1);
	stop(&f);
}

static void test_msi_hardware(void **state)
{
	int32_t fds[4];
	unsigned log2;
	struct fixture f;

	start(&f, false);
	for (unsigned i = 0; i < 4; i++)
		fds[i] = f.efd[i];
	assert_false(irq_msi_active(f.set, &log2));
	assert_int_equal(log2, 0);
	assert_int_equal(request(f.set, MSI, 0, 3, EVENTFD | TRIGGER, fds), 0);
	assert_true(irq_msi_active(f.set, &log2));
	assert_int_equal(log2, 2);
	irq_raise(f.set, 2);
	assert_int_equal(taken(f.efd[2]), 1);
	irq_raise(f.set, 3); /* not allocated */
	assert_int_equal(irq_dropped(f.set), 1);

	/* The mask dword and the enable bit hold back. */
	irq_msi_config(f.set, true, 1 << 1);
	irq_raise(f.set, 1);
	irq_raise(f.set, 0);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(taken(f.efd[1]), 0);
	assert_int_equal(irq_msi_pending(f.set), 2);
	irq_msi_config(f.set, false, 0);
	irq_raise(f.set, 0);
	assert_int_equal(irq_msi_pending(f.set), 3);
	irq_msi_config(f.set, true, 0);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(irq_msi_pending(f.set), 0);

	/* The last allocation is remembered after a disable, until the last close. */
	assert_int_equal(request(f.set, MSI, 0, 0, NONE | TRIGGER, NULL), 0);
	assert_false(irq_msi_active(f.set, &log2));
	assert_int_equal(log2, 2);
	irq_disable_all(f.set);
	irq_msi_active(f.set, &log2);
	assert_int_equal(log2, 0);
	stop(&f);
}

static void test_msix_table(void **state)
{
	struct fixture f;

	start(&f, true);
	/* Reset: masked, which holds nothing back. */
	assert_int_equal(irq_msix_table_read(f.set, 12), 1);
	assert_int_equal(irq_msix_table_read(f.set, 0), 0);
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[0]), 0);
	irq_raise(f.set, 0);
	assert_int_equal(taken(f.efd[0]), 1);
	/* The host wrote the entry. */
	assert_int_equal(irq_msix_table_read(f.set, 12), 0);
	assert_int_equal(irq_msix_table_read(f.set, 0), 0xfee00000);
	assert_int_equal(irq_msix_table_read(f.set, 12 + 16), 1);

	/* The client masks: pending; unmasks: fires. */
	irq_msix_table_write(f.set, 12, 0xffffffff);
	assert_int_equal(irq_msix_table_read(f.set, 12), 1);
	irq_raise(f.set, 0);
	assert_int_equal(taken(f.efd[0]), 0);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 1);
	irq_msix_table_write(f.set, 12, 0);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 0);

	/* Messages are kept, and rewritten when the eventfd is set; the mask goes too. */
	irq_msix_table_write(f.set, 0, 0x12345677);
	irq_msix_table_write(f.set, 8, 99);
	assert_int_equal(irq_msix_table_read(f.set, 0), 0x12345674);
	irq_msix_table_write(f.set, 12, 1);
	irq_raise(f.set, 0);
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[1]), 0);
	assert_int_equal(irq_msix_table_read(f.set, 0), 0xfee00000);
	assert_int_equal(irq_msix_table_read(f.set, 8), 0);
	assert_int_equal(taken(f.efd[1]), 1);

	/* A reset takes the client's mask back. */
	irq_msix_table_write(f.set, 12, 1);
	irq_reset(f.set);
	assert_int_equal(irq_msix_table_read(f.set, 12), 0);
	irq_raise(f.set, 0);
	assert_int_equal(taken(f.efd[1]), 1);

	/* Deassigning masks the entry. */
	assert_int_equal(set_fd(f.set, MSIX, 0, -1), 0);
	assert_int_equal(irq_msix_table_read(f.set, 12), 1);

	/* Outside. */
	irq_msix_table_write(f.set, 64 * 16, 1);
	irq_msix_table_write(f.set, 64 * 16 - 2, 1);
	assert_int_equal(irq_msix_table_read(f.set, 64 * 16), 0);
	assert_int_equal(irq_msix_table_read(f.set, UINT32_MAX - 3), 0);
	stop(&f);
}

/* A client that fills its eventfd's counter delays nobody. */
static void test_full_eventfd(void **state)
{
	uint64_t full = UINT64_MAX - 1;
	struct fixture f;
	int blocking;

	start(&f, true);
	blocking = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(set_fd(f.set, MSIX, 0, blocking), 0);
	assert_int_equal(set_fd(f.set, MSIX, 1, f.efd[1]), 0);
	assert_int_equal(write(blocking, &full, sizeof(full)), sizeof(full));
	for (unsigned i = 0; i < 1000; i++)
		irq_raise(f.set, 0);
	assert_int_equal(irq_dropped(f.set), 1000);
	irq_raise(f.set, 1);
	assert_int_equal(taken(f.efd[1]), 1);
	/* Once it is taken, it works again. */
	assert_int_equal(taken(blocking), full);
	irq_raise(f.set, 0);
	assert_int_equal(taken(blocking), 1);
	close(blocking);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_validation),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_intx_requests),
		cmocka_unit_test(test_message_requests),
		cmocka_unit_test(test_single_requests),
		cmocka_unit_test(test_single_delivery),
		cmocka_unit_test(test_intx_delivery),
		cmocka_unit_test(test_intx_virtual_disable),
		cmocka_unit_test(test_intx_unmask_eventfd),
		cmocka_unit_test(test_positive_return),
		cmocka_unit_test(test_power),
		cmocka_unit_test(test_error_inside_block),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_pending),
		cmocka_unit_test(test_msi_hardware),
		cmocka_unit_test(test_msix_table),
		cmocka_unit_test(test_full_eventfd),
	};

	return cmocka_run_group_tests_name("irq", tests, NULL, NULL);
}
