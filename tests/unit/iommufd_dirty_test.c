/* SPDX-License-Identifier: BSD-3-Clause */
/* Dirty tracking of iommufd's hardware page tables (D.3): what a device's writes do to the bitmaps.
 * The refusals are tests/rules'. */
#include "iommufd_fixture.h"

#define P 4096ull

struct dirty {
	struct fixture f;
	uint32_t ioas, hwpt;
};

static uint32_t hwpt_alloc(struct fixture *f, uint32_t dev, uint32_t ioas)
{
	struct iommufd_hwpt_alloc a = {
		.size = sizeof(a), .flags = IOMMUFD_HWPT_DIRTY, .dev_id = dev, .pt_id = ioas};

	assert_int_equal(call(f, IOMMUFD_HWPT_ALLOC, &a), 0);
	return a.out_hwpt_id;
}

static int set_dirty(struct fixture *f, uint32_t hwpt, bool on)
{
	struct iommufd_set_dirty s = {.size = sizeof(s), .flags = on, .hwpt_id = hwpt};

	return call(f, IOMMUFD_SET_DIRTY, &s);
}

static int get_dirty(struct fixture *f, uint32_t hwpt, uint32_t flags, uint64_t length,
		     uint64_t page, uint64_t *bits)
{
	struct iommufd_get_dirty g = {.size = sizeof(g),
				      .hwpt_id = hwpt,
				      .flags = flags,
				      .iova = IOVA,
				      .length = length,
				      .page_size = page,
				      .data = (uintptr_t)bits};

	return call(f, IOMMUFD_GET_DIRTY, &g);
}

/* The first 64 pages from IOVA on; what was reported is forgotten. */
static uint64_t dirty_pages(struct fixture *f, uint32_t hwpt)
{
	uint64_t bits = 0;

	assert_int_equal(get_dirty(f, hwpt, 0, 64 * P, P, &bits), 0);
	return bits;
}

static int write_at(struct fixture *f, uint64_t iova, uint32_t len)
{
	return probe_command(f, CMD_WRITE, iova, len);
}

/* The device is attached to an HWPT that tracks; 8 pages are mapped. */
static void up_dirty(struct dirty *d)
{
	uint32_t pt;

	up_bound(&d->f);
	d->ioas = ioas_alloc(&d->f);
	d->hwpt = pt = hwpt_alloc(&d->f, 1, d->ioas);
	assert_int_equal(map_at(&d->f, d->ioas, IOVA, 0, 8 * P), 0);
	assert_int_equal(attach(&d->f, d->f.df, &pt), 0);
	assert_int_equal(pt, d->hwpt);
}

static void test_writes(void **state)
{
	struct dirty d;

	up_dirty(&d);
	assert_int_equal(write_at(&d.f, IOVA, 4), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0);
	assert_int_equal(set_dirty(&d.f, d.hwpt, true), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0);
	assert_int_equal(write_at(&d.f, IOVA + P + 5, 4), 0);
	assert_int_equal(write_at(&d.f, IOVA + 4 * P - 2, 4), 0);
	assert_int_equal(read_at(&d.f, IOVA + 6 * P), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0x1a);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0);
	/* What lies in front of a fault has been written. */
	assert_int_equal(write_at(&d.f, IOVA + 8 * P - 2, 4), -EFAULT);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0x80);
	/* What is held is written until it is let go. */
	assert_int_equal(probe_command(&d.f, CMD_HOLD, IOVA + 2 * P, 2 * P), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0);
	config_put(&d.f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0xc);
	config_put(&d.f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(write_at(&d.f, IOVA, 4), 0);
	assert_int_equal(set_dirty(&d.f, d.hwpt, false), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0);
	down(&d.f);
}

static void test_enable_clears(void **state)
{
	struct dirty d;

	up_dirty(&d);
	assert_int_equal(set_dirty(&d.f, d.hwpt, true), 0);
	assert_int_equal(write_at(&d.f, IOVA, 4), 0);
	assert_int_equal(set_dirty(&d.f, d.hwpt, true), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0);
	assert_int_equal(write_at(&d.f, IOVA + P, 4), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 2);
	down(&d.f);
}

static void test_no_clear(void **state)
{
	uint64_t bits = 0x100;
	struct dirty d;

	up_dirty(&d);
	assert_int_equal(set_dirty(&d.f, d.hwpt, true), 0);
	assert_int_equal(write_at(&d.f, IOVA + 3 * P, 4), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(get_dirty(&d.f, d.hwpt, IOMMUFD_DIRTY_NO_CLEAR, 8 * P, P, &bits),
				 0);
		assert_int_equal(bits, 0x108); /* what was there stays */
		bits = 0x100;
	}
	/* In pages of the bitmap's own size: 2 and ½ of ours. */
	assert_int_equal(get_dirty(&d.f, d.hwpt, IOMMUFD_DIRTY_NO_CLEAR, 8 * P, 2 * P, &bits), 0);
	assert_int_equal(bits, 0x102);
	assert_int_equal(get_dirty(&d.f, d.hwpt, 0, 8 * P, P / 2, &bits), 0);
	assert_int_equal(bits, 0x1c2);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0);
	down(&d.f);
}

static void test_gap(void **state)
{
	struct dirty d;

	up_dirty(&d);
	/* Another mapping follows without a gap, a third behind one. */
	assert_int_equal(map_at(&d.f, d.ioas, IOVA + 8 * P, 8 * P, P), 0);
	assert_int_equal(map_at(&d.f, d.ioas, IOVA + 10 * P, 10 * P, P), 0);
	assert_int_equal(set_dirty(&d.f, d.hwpt, true), 0);
	assert_int_equal(write_at(&d.f, IOVA + 7 * P, 4), 0);
	assert_int_equal(write_at(&d.f, IOVA + 8 * P, 4), 0);
	assert_int_equal(write_at(&d.f, IOVA + 10 * P, 4), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0x180);
	/* It has not been forgotten. */
	assert_int_equal(map_at(&d.f, d.ioas, IOVA + 9 * P, 9 * P, P), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0x400);
	/* A bitmap that is not there is found when there is something to say. */
	assert_int_equal(get_dirty(&d.f, d.hwpt, 0, 8 * P, P, NULL), 0);
	assert_int_equal(write_at(&d.f, IOVA, 4), 0);
	assert_int_equal(get_dirty(&d.f, d.hwpt, 0, 8 * P, P, NULL), -EFAULT);
	down(&d.f);
}

/* All page tables of an IOAS are one address space, but each has a log of its own. */
static void test_device_moves(void **state)
{
	uint32_t other, pt, automatic;
	struct dirty d;

	up_dirty(&d);
	other = pt = hwpt_alloc(&d.f, 1, d.ioas);
	assert_int_equal(set_dirty(&d.f, d.hwpt, true), 0);
	assert_int_equal(set_dirty(&d.f, other, true), 0);
	assert_int_equal(write_at(&d.f, IOVA, 4), 0);
	assert_int_equal(attach(&d.f, d.f.df, &pt), 0);
	assert_int_equal(write_at(&d.f, IOVA + P, 4), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 1);
	assert_int_equal(dirty_pages(&d.f, other), 2);
	/* To one that does not track, and nowhere. */
	automatic = d.ioas;
	assert_int_equal(attach(&d.f, d.f.df, &automatic), 0);
	assert_int_not_equal(automatic, other);
	assert_int_equal(call(&d.f, IOMMUFD_DESTROY, &(struct iommufd_destroy){8, other}), 0);
	assert_int_equal(write_at(&d.f, IOVA + 2 * P, 4), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0);
	assert_int_equal(detach(&d.f, d.f.df), 0);
	pt = d.hwpt;
	assert_int_equal(attach(&d.f, d.f.df, &pt), 0);
	assert_int_equal(write_at(&d.f, IOVA + 3 * P, 4), 0);
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 8);
	/* A page table outlives its device. */
	vfio_device_release(d.f.df);
	d.f.df = NULL;
	assert_int_equal(dirty_pages(&d.f, d.hwpt), 0);
	assert_int_equal(call(&d.f, IOMMUFD_DESTROY, &(struct iommufd_destroy){8, d.hwpt}), 0);
	down(&d.f);
}

static void test_limit(void **state)
{
	struct iommufd_hwpt_alloc a = {.size = sizeof(a), .flags = IOMMUFD_HWPT_DIRTY, .dev_id = 1};
	struct dirty d;

	up_dirty(&d);
	for (int i = 1; i < 16; i++)
		hwpt_alloc(&d.f, 1, d.ioas);
	a.pt_id = d.ioas;
	assert_int_equal(call(&d.f, IOMMUFD_HWPT_ALLOC, &a), -ENOMEM);
	a.flags = 0;
	assert_int_equal(call(&d.f, IOMMUFD_HWPT_ALLOC, &a), 0);
	assert_int_equal(detach(&d.f, d.f.df), 0);
	assert_int_equal(call(&d.f, IOMMUFD_DESTROY, &(struct iommufd_destroy){8, d.hwpt}), 0);
	hwpt_alloc(&d.f, 1, d.ioas);
	down(&d.f);
}

/* ---- writes beside everything ---- */

#define ROUNDS 300

struct beside {
	struct dirty *d;
	uint32_t hwpt[2];
	atomic_bool done;
	uint64_t found; /* by the readers, of both page tables */
};

/* Between two page tables that both track, no write may fall through. */
static void *move(void *arg)
{
	struct beside *b = arg;

	for (unsigned i = 0; !atomic_load(&b->done); i++) {
		uint32_t pt = b->hwpt[i & 1];

		assert_int_equal(attach(&b->d->f, b->d->f.df, &pt), 0);
	}
	return NULL;
}

static void *collect(void *arg)
{
	struct beside *b = arg;

	while (!atomic_load(&b->done))
		for (unsigned i = 0; i < 2; i++)
			b->found |= dirty_pages(&b->d->f, b->hwpt[i]);
	return NULL;
}

static void test_nothing_is_lost(void **state)
{
	pthread_t mover, collector;
	struct dirty d;
	struct beside b = {.d = &d};

	up_dirty(&d);
	b.hwpt[0] = d.hwpt;
	b.hwpt[1] = hwpt_alloc(&d.f, 1, d.ioas);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(set_dirty(&d.f, b.hwpt[i], true), 0);
	for (unsigned page = 0; page < 8; page++) {
		uint64_t written = 0;

		b.found = 0;
		atomic_store(&b.done, false);
		assert_int_equal(pthread_create(&mover, NULL, move, &b), 0);
		assert_int_equal(pthread_create(&collector, NULL, collect, &b), 0);
		for (unsigned i = 0; i < ROUNDS; i++) {
			int ret = write_at(&d.f, IOVA + page * P, 4);

			/* Refused while it moves. */
			assert_true(!ret || ret == -EPERM);
			if (!ret)
				written = 1ull << page;
		}
		atomic_store(&b.done, true);
		pthread_join(mover, NULL);
		pthread_join(collector, NULL);
		for (unsigned i = 0; i < 2; i++)
			b.found |= dirty_pages(&d.f, b.hwpt[i]);
		assert_int_equal(b.found, written);
	}
	down(&d.f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writes),          cmocka_unit_test(test_enable_clears),
		cmocka_unit_test(test_no_clear),        cmocka_unit_test(test_gap),
		cmocka_unit_test(test_device_moves),    cmocka_unit_test(test_limit),
		cmocka_unit_test(test_nothing_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
