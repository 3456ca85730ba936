/* SPDX-License-Identifier: BSD-3-Clause */
/* SET_IRQS, row by row of A.8. */
#include "irq_fixture.h"

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
	f.dev.counts[INTX] = f.dev.counts[MSI] = 0;
	irq_msix_resize(f.set, 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_validation),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_intx_requests),
		cmocka_unit_test(test_message_requests),
		cmocka_unit_test(test_single_requests),
	};

	return cmocka_run_group_tests_name("irq", tests, NULL, NULL);
}
